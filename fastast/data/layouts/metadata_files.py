"""Metadata files of audio folders: `metadata.csv` or `metadata.jsonl`, which label the clips below their folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastast.data.split_names import read_split, split_of
from fastast.data.tables import leads_out, name_columns, read_lines, read_rows, read_table, split_labels
from fastast.data.training_set import DataError, DataNotFoundError, DataWarning

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"
"""Column of a metadata file with the path of a clip."""
_SPLITS = ("split", "subset")
"""Columns that may give the split of a clip, in upper or lower case."""
_NO_SPLITS = ("fold",)
"""Columns that divide the clips in other terms than splits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledClip:
    """A clip that a metadata file lists."""

    path: Path
    labels: tuple[str, ...]
    split: str = ""
    """Split that the file's column gives; empty if it has no such column."""


def metadata_in(folder: Path) -> Path | None:
    """Return the metadata file in a folder itself; None where there is none."""
    return next((path for name in METADATA if (path := folder / name).is_file()), None)


def metadata_of(top: Path, folder: Path, clips: Iterable[Path], label: str) -> dict[Path, Path]:
    """Return folder -> metadata file, for all folders from `top` to the clips of `folder` whose file has labels.

    A file in `folder` itself is always returned, as it must have labels; any other without them causes a DataWarning.
    """
    around = {folder, *(above for above in folder.parents if above.is_relative_to(top))}
    around |= {up for clip in clips for up in clip.parents if up.is_relative_to(folder)}
    found = {path: table for path in sorted(around) if (table := metadata_in(path))}
    return {path: table for path, table in found.items() if path == folder or _has_labels(table, label)}


def nearest(clip: Path, tables: dict[Path, Path]) -> Path | None:
    """Return the metadata file that labels a clip: the nearest one above it."""
    return next((tables[folder] for folder in clip.parents if folder in tables), None)


def read_labels_file(table: Path, label: str, several: str, *, by_folder: bool = False) -> list[LabelledClip]:
    """Return path, labels and split of every clip that a metadata file lists.

    `label` is the column of the labels and `several` separates them; with `by_folder`, folders give the splits and
    columns do not. Raises DataError, naming the line, for a path that leads out of the file's folder, a missing clip,
    invalid labels, and a column of splits whose values do not name splits.
    """
    is_json = table.suffix == ".jsonl"
    rows = _json_lines(table) if is_json else read_table(table, (FILE_NAME, label), options={"label": label})
    column = "" if by_folder else _split_column(table, rows, label)
    found = []
    for line, row in rows:
        where = f"{table}, line {line}"
        name = str(row.get(FILE_NAME, ""))
        if leads_out(name):
            raise DataError(f"{where}: {FILE_NAME} is {name!r}; it must be a path below {table.parent}")
        path = table.parent / name
        if not path.is_file():
            raise DataNotFoundError(f"{where}: {path}: this clip is missing; fix the table, or fetch the clip")
        labels = _labels(where, row, label, several)
        split = read_split(where, column, str(row.get(column))) if column else ""
        found.append(LabelledClip(path=path, labels=labels, split=split))
    return found


def _labels(where: str, row: dict[str, Any], label: str, several: str) -> tuple[str, ...]:
    if label not in row:
        there, setting = ", ".join(row) or "none", name_columns(["label"], row)
        raise DataError(f"{where}: no {label!r} in it; it has {there}; name the column: {setting}")
    value = row[label]
    if isinstance(value, list) and all(isinstance(one, str) and one for one in value):
        return tuple(dict.fromkeys(value))
    if isinstance(value, str):
        return split_labels(where, value, several)
    raise DataError(f"{where}: {label} is {value!r}; it must be a string, or a list of strings")


def _split_column(table: Path, rows: Sequence[tuple[int, dict[str, Any]]], label: str) -> str:
    """Return the column that gives the split of every clip; empty where no column has the name of one.

    Raises DataError where one has the name but gives a split for no clip: all clips would be trained on.
    """
    names = dict.fromkeys(name for _, row in rows for name in row if name != label)
    called = [name for known in _SPLITS for name in names if name.casefold() == known]
    for name in called:
        if any(split_of(str(row.get(name))) for _, row in rows):
            return name  # any other value is refused when its row is read
    called += [name for known in _NO_SPLITS for name in names if name.casefold() == known]
    if not called:
        return ""
    line, row = next((line, row) for line, row in rows if called[0] in row)
    without = "remove that key"
    by_fold = ""
    if table.suffix != ".jsonl":
        as_table = f"--name table -s table={table.name} -s file={FILE_NAME} -s label={label} -s split_column="
        without = f"{as_table}none"
        if (fold := str(row[called[0]]).strip()).isdecimal():
            by_fold = f". To test on a fold: {as_table}{called[0]} -s test_folds=[{fold}]"
    raise DataError(
        f"{table}, line {line}: {called[0]} is {row[called[0]]!r}, and all clips would be trained on; mark each one as "
        f"train, val or test in a column split{by_fold}. To set shares apart instead: {without}"
    )


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
