"""The table of a folder's records, which is next to them and computed from them alone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from bench.records.columns import COLUMNS
from bench.records.export import frame_of, row_of
from bench.records.many import each_of_many
from bench.records.store import read_record, record_paths
from fastast.system.writing import write_whole

TABLE = "cells.csv"


def write_table(folder: Path) -> Path:
    """Write the table of a folder's records again and return its path. Raises RecordError for a bad record."""
    path = folder / TABLE
    write_rows(folder, path)
    return path


def write_rows(folder: Path, path: Path) -> int:
    """Write a row for every record in `folder` and below to the CSV file `path`, atomically; return their number.

    Raises RecordError for the first bad record.
    """
    paths = record_paths(folder)
    rows = frame_of(each_of_many(_row_at, paths))
    write_whole(path, rows.to_csv(index=False, lineterminator="\n").encode())
    return len(paths)


def is_behind(folder: Path) -> bool:
    """Return whether a folder's table is missing, of other records, older than one of them, or has other columns."""
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


def _row_at(path: Path) -> dict[str, Any]:
    return row_of(read_record(path))
