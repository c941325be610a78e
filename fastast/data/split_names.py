"""Recognise the three splits by the names that are in use for them."""

from __future__ import annotations

import re
from pathlib import PurePath

from fastast.data.training_set import DataError

NAMES = {
    "train": ("train", "training", "trn", "dev_train"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "tst"),
}
"""Split -> its names in the `datasets` library and elsewhere."""
_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Return train, val or test for any of its names; None for other names."""
    return _SPLIT_OF.get(name.strip().lower())


def read_split(where: str, column: str, text: str, advice: str = "") -> str:
    """Return the split that a field names. Raises DataError, naming place, column and value, where it names none."""
    split = split_of(text)
    if split is None:
        known = ", ".join(name for names in NAMES.values() for name in names)
        raise DataError(f"{where}: {column} is {text!r}; it must be one of {known}{advice}")
    return split


def split_of_path(path: PurePath) -> str | None:
    """Return the split that a file or a folder above it is named after, as in data/bal_train/00.parquet; else None."""
    for part in reversed((*path.parent.parts, path.stem)):
        words = re.split(r"[^a-z]+", part.lower())
        found = {split for word in words if (split := _SPLIT_OF.get(word))}
        if len(found) == 1:
            return found.pop()
    return None
