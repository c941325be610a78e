"""Guess from its rows what the columns of a user's table hold."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastast.data.clip_files import ENDINGS
from fastast.data.folds import by_number
from fastast.data.layouts.metadata_files import FILE_NAME, METADATA
from fastast.data.split_names import split_of, split_of_path
from fastast.data.tables import LABELS, read_rows

LOOKED_AT = 20
"""Number of rows of a table from which its columns, or the folder of its clips, are guessed."""
MARKS = ",;|"
"""Separators of labels that are common in tables."""
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}


def guess_columns(root: Path, path: Path) -> dict[str, Any]:
    """Return the options that describe the columns of a table; empty where they cannot be recognised."""
    for called, separator in SEPARATORS.items():
        rows = [row for _, row in itertools.islice(read_rows(path, separator=separator), LOOKED_AT + 1) if row]
        if len(rows) < 2 or len(rows[0]) < 2 or {len(row) for row in rows} != {len(rows[0])}:
            continue
        columns = {name.strip(): [row[index] for row in rows[1:]] for index, name in enumerate(rows[0])}
        there = {name: sum(is_clip_under(root, value) for value in values) for name, values in columns.items()}
        file = max(there, key=lambda name: there[name])
        label = next((name for known in LABELS for name in columns if name.casefold() == known), None)
        if 2 * there[file] < len(rows) - 1 or label is None:  # some clips may be missing
            continue
        if path.name in METADATA and file == FILE_NAME:  # audio_folder also uses the folders
            continue
        split = next((n for n, values in columns.items() if n != file and all(map(split_of, values))), None)
        # The names of tables such as train.csv and test.csv give the split, so a column of folds does not.
        said = split or split_of_path(path.relative_to(root))
        fold = "" if said else next((n for n in columns if n.casefold() == "fold" and n not in (file, label)), "")
        place = list(columns).index(label)
        all_rows = [row for _, row in read_rows(path, separator=separator) if len(row) == len(columns)]
        labels = {row[place] for row in all_rows}
        several = next((mark for mark in MARKS if _is_between(mark, labels)), "")
        found = {"separator": called, "file": file, "label": label, "several": several}
        if fold:
            folds = {row[list(columns).index(fold)].strip() for row in all_rows[1:]} - {""}
            return found | {"split_column": fold, "test_folds": (min(folds, key=by_number),)} if folds else found
        return found | ({"split_column": split} if split else {})
    return {}


def _is_between(mark: str, labels: Iterable[str]) -> bool:
    """Return whether a mark separates labels rather than being part of names: some part is then in several fields."""
    parts = Counter(part for text in labels for part in {part.strip() for part in text.split(mark)})
    return any(parts[part.strip()] > 1 for text in labels if mark in text for part in text.split(mark))


def is_clip_under(root: Path, value: str) -> bool:
    """Return whether a value in a table is the path of a clip below `root`."""
    return bool(value) and with_ending(root / value.replace("\\", "/")).is_file()


def with_ending(path: Path) -> Path:
    """Return the file that a table's path means, with or without file extension; the path itself if none exists."""
    if path.is_file():
        return path
    names = (f"{path.name}.{ending}" for written in (ENDINGS, map(str.upper, ENDINGS)) for ending in written)
    return next((p for name in names if (p := path.with_name(name)).is_file()), path)
