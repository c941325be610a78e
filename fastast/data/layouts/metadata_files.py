"""Metadata files of audio folders: `metadata.csv` or `metadata.jsonl`, which say the labels of the clips below them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastast.data.tables import leads_out, read_lines, read_rows, read_table, split_labels
from fastast.data.training_set import DataError, DataNotFoundError, DataWarning

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"
"""Their column with the path of a clip."""


def metadata_in(folder: Path) -> Path | None:
    """Return the metadata file that lies in a folder; None where none does."""
    return next((path for name in METADATA if (path := folder / name).is_file()), None)


def metadata_of(top: Path, folder: Path, clips: Iterable[Path], label: str) -> dict[Path, Path]:
    """Return folder -> metadata file in it, of all folders above (from `top`) and below `folder` that have labels.

    One in `folder` itself must have them; of another that has none a DataWarning says that it is not used.
    """
    around = {folder, *(above for above in folder.parents if above.is_relative_to(top))}
    around |= {up for clip in clips for up in clip.parents if up.is_relative_to(folder)}
    found = {path: table for path in sorted(around) if (table := metadata_in(path))}
    return {path: table for path, table in found.items() if path == folder or _has_labels(table, label)}


def nearest(clip: Path, tables: dict[Path, Path]) -> Path | None:
    """Return the metadata file that says the labels of a clip: the nearest above it."""
    return next((tables[folder] for folder in clip.parents if folder in tables), None)


def read_labels_file(table: Path, label: str, several: str) -> list[tuple[Path, tuple[str, ...]]]:
    """Return path and labels of every clip that a metadata file lists.

    `label`: the column with them; `several`: what stands between them. Raises DataError, naming the line, for a path
    that leads out of the file's folder, a clip that is not there, and labels that are none.
    """
    rows = _json_lines(table) if table.suffix == ".jsonl" else read_table(table, (FILE_NAME, label))
    found = []
    for line, row in rows:
        where = f"{table}, line {line}"
        name = str(row.get(FILE_NAME, ""))
        if leads_out(name):
            raise DataError(f"{where}: {FILE_NAME} is {name!r}; it must be a path below {table.parent}")
        path = table.parent / name
        if not path.is_file():
            raise DataNotFoundError(f"{where}: {path}: this clip is not there; mend the table, or fetch the clip")
        value = row.get(label)
        if isinstance(value, list) and all(isinstance(one, str) and one for one in value):
            found.append((path, tuple(dict.fromkeys(value))))
        elif isinstance(value, str):
            found.append((path, split_labels(where, value, several)))
        else:
            raise DataError(f"{where}: {label} is {value!r}; it must be text, or a list of texts")
    return found


def _has_labels(table: Path, label: str) -> bool:
    try:
        rows: Iterable[tuple[int, Iterable[str]]] = _json_lines(table) if table.suffix == ".jsonl" else read_rows(table)
        names = [name.strip() for name in next(iter(rows), (0, ()))[1]]
    except DataError as error:
        warnings.warn(f"{table}: not used: {error}", DataWarning, stacklevel=2)
        return False
    there = {FILE_NAME, label.casefold()} <= {name.casefold() for name in names}
    if not there:
        warnings.warn(
            f"{table}: not used, as it has no columns {FILE_NAME} and {label}; it has {', '.join(names) or 'none'}. If "
            "one of them holds the labels: -s label=COLUMN",
            DataWarning,
            stacklevel=2,
        )
    return there


def _json_lines(table: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for line, text in read_lines(table):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: not readable as JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{table}, line {line}: {text.strip()!r} is not an object with file_name and label")
        found.append((line, value))
    return found
