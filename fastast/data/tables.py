"""Read the tables and lists that come with data sets: CSV in UTF-8, with errors that name the file and line."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from fastast.data.training_set import DataError, DataNotFoundError

_NOT_UTF8 = re.compile("[\udc80-\udcff]+")
"""Characters that Python's `surrogateescape` puts in place of bytes that are not UTF-8."""
_MOST_DIGITS = 9
"""Most digits of a number in a table; no class index is longer."""
LABELS = ("label", "labels", "class", "classes", "category", "tag", "tags", "target", "word")
"""Common names of columns with labels."""
_CALLED = {
    "file": ("file", "file_name", "filename", "fname", "path", "file_path", "filepath", "audio", "clip", "wav"),
    "label": LABELS,
    "split_column": ("split", "subset"),
}
"""Option of a data set that names a column -> common names of that column."""
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""Separators that spreadsheets write instead of commas."""


def read_lines(path: Path, origin: str = "the data set") -> Iterator[tuple[int, str]]:
    """Yield the number and text of every line, without a byte-order mark.

    Raises DataError for UTF-16 and, naming the line, for bytes that are not UTF-8; DataNotFoundError where there is no
    file.
    """
    if not path.is_file():
        raise DataNotFoundError(f"{path}: there is no such file; it comes with {origin}")
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path}: this is UTF-16, as spreadsheets write it; save it as CSV in UTF-8")
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if wrong := _NOT_UTF8.search(line):
                found = wrong.group().encode("utf-8", "surrogateescape")
                raise DataError(f"{path}, line {number}: {found!r} is not UTF-8; a table must be text in UTF-8")
            yield number, line


def read_rows(path: Path, origin: str = "the data set", *, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the line and values of every row of a CSV file. Raises DataError, naming the line, where it is not CSV."""
    lines = (text for _, text in read_lines(path, origin))
    reader = csv.reader(lines, skipinitialspace=True, delimiter=separator)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; a table must be CSV, a row per line") from error


def read_table(
    path: Path, columns: Sequence[str], *, separator: str = ",", options: Mapping[str, str] | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Return the line and values of every row of a CSV file whose header has at least these columns.

    Capitals in column names do not matter. `options`: option -> column, for columns whose names the user can set.
    Raises DataError naming the line, the column that is missing or duplicated, or the separator used instead, and where
    there are no rows.
    """
    rows = ((line, row) for line, row in read_rows(path, separator=separator) if row)
    _, names = next(rows, (0, []))
    names = _as_asked([name.strip() for name in names], columns)
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    missing = [name for name in columns if name not in names]
    own = [option for option, column in (options or {}).items() if column in missing]
    if missing:
        _refuse_other_separators(path, names, columns)
        raise DataError(
            f"{path}: no column {missing[0]!r}; it must have {', '.join(columns)}. It has {shown or 'none'}"
            + (f"; name yours: {name_columns(own, names)}" if own else "")
        )
    if twice := next((name for name in columns if names.count(name) > 1), None):
        raise DataError(f"{path}: two columns are called {twice!r}; remove or rename one. It has {shown}")
    table = []
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {row!r} must be {len(names)} values: {shown}")
        table.append((line, {name: value.strip() for name, value in zip(names, row, strict=True)}))
    if not table:
        raise DataError(f"{path}: there is no row below the header")
    return table


def name_columns(options: Iterable[str], names: Iterable[str]) -> str:
    """Return the settings that give each option its column in a table, recognised by common names, else COLUMN."""
    there = {name.casefold(): name for name in names}
    found = {option: next((there[name] for name in _CALLED[option] if name in there), "COLUMN") for option in options}
    if found.get("split_column") == "COLUMN":
        found["split_column"] = "none (if no column gives it)"
    return " ".join(f"-s {option}={name}" for option, name in found.items())


def _as_asked(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return a header's names, spelled as in `columns` where they differ only in capitals and are unambiguous."""
    asked = {name.casefold(): name for name in columns if name not in names}
    only = Counter(name.casefold() for name in names)
    return [asked.get(name.casefold(), name) if only[name.casefold()] == 1 else name for name in names]


def _refuse_other_separators(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    for separator, called in _OTHER_SEPARATORS.items():
        there = {name.strip(' "').casefold() for name in names[0].split(separator)} if len(names) == 1 else set()
        if {name.casefold() for name in columns} <= there:
            raise DataError(
                f"{path}: its columns are separated by {called} ({separator!r}), not by commas; save it as CSV with "
                "commas"
            )


def read_whole(where: str, name: str, text: str) -> int:
    """Return a field's whole number. Raises DataError, naming place, column and value, where it is not one."""
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise DataError(f"{where}: {name} is {text!r}; it must be a whole number of at least 0")
    return int(text)


def split_labels(where: str, text: str, separator: str = ",") -> tuple[str, ...]:
    """Return the distinct labels of a field, without surrounding spaces. Raises DataError for an empty label."""
    labels = tuple(label.strip() for label in text.split(separator)) if separator else (text.strip(),)
    if "" in labels:
        raise DataError(f"{where}: an empty label in {text!r}")
    return tuple(dict.fromkeys(labels))


def leads_out(path: str) -> bool:
    """Return whether a path in a table leads out of the folder that it is relative to."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
