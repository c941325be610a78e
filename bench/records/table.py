"""The table of a folder's records, which lies beside them and is a function of them."""

from __future__ import annotations

import csv
from pathlib import Path

from bench.records.columns import COLUMNS
from bench.records.store import each_record, record_paths, write_csv

TABLE = "cells.csv"


def write_table(folder: Path) -> Path:
    """Write the table of a folder's records again and return its path. Raises RecordError for a bad record."""
    path = folder / TABLE
    write_csv(each_record(folder), path)
    return path


def is_behind(folder: Path) -> bool:
    """Return whether a folder has no table, or one of other records, older ones, or with other columns."""
    path, records = folder / TABLE, record_paths(folder)
    try:
        written = path.stat().st_mtime_ns
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            heads = next(rows, [])
            if heads != list(COLUMNS):
                return True
            at = heads.index("cell")
            listed = [row[at] for row in rows if len(row) > at]
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        return True
    if sorted(listed) != sorted(record.stem for record in records):
        return True
    return any(record.stat().st_mtime_ns >= written for record in records)
