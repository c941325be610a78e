"""What people call the three splits."""

from __future__ import annotations

import re
from pathlib import PurePath

from fastast.data.training_set import DataError

NAMES = {
    "train": ("train", "training", "trn", "dev_train"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "tst"),
}
"""Split -> its names, as the `datasets` library and others know them."""
_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Return train, val or test for what someone calls it; None where that is none of them."""
    return _SPLIT_OF.get(name.strip().lower())


def read_split(where: str, column: str, text: str, advice: str = "") -> str:
    """Return the split that a table's column says. Raises DataError, naming place, column and value, for no word."""
    split = split_of(text)
    if split is None:
        known = ", ".join(name for names in NAMES.values() for name in names)
        raise DataError(f"{where}: {column} is {text!r}; it must be one of {known}{advice}")
    return split


def split_of_path(path: PurePath) -> str | None:
    """Return the split that a file or one of its folders is called after, such as data/bal_train/00.parquet."""
    for part in reversed((*path.parent.parts, path.stem)):
        words = re.split(r"[^a-z]+", part.lower())
        found = {split for word in words if (split := _SPLIT_OF.get(word))}
        if len(found) == 1:
            return found.pop()
    return None
