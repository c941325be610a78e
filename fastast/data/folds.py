"""Folds of a table: some for testing, some for validation, and all others for training."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Protocol

from fastast.data.training_set import DataError


class Folds(Protocol):
    """Options of a data set that has folds."""

    @property
    def test_folds(self) -> tuple[str, ...]:
        """Folds to test on."""

    @property
    def val_folds(self) -> tuple[str, ...]:
        """Folds to validate on."""


def as_folds(name: str, value: Any) -> tuple[str, ...]:
    """Return folds as strings, as in a table; a recipe may give numbers. Raises DataError for anything but a list."""
    kinds = {type(one) for one in value} if isinstance(value, list | tuple) else {None}
    if not kinds <= {int, str}:
        raise DataError(f"data: {name} is {value!r}; it must be a list of folds, such as [1]")
    return tuple(str(one).strip() for one in value)


def split_of_fold(fold: str, options: Folds) -> str:
    """Return the split that a fold belongs to."""
    return "test" if fold in options.test_folds else "val" if fold in options.val_folds else "train"


def check_folds(options: Folds, there: Iterable[str], where: str) -> None:
    """Raise DataError for a fold without clips: the clips that were meant would be trained on."""
    known = sorted(set(there), key=by_number)
    for name, folds in (("test_folds", options.test_folds), ("val_folds", options.val_folds)):
        if absent := [fold for fold in folds if fold not in known]:
            raise DataError(
                f"{where}: no clip is in fold {absent[0]}, which data.{name} names; the folds are {', '.join(known)}"
            )


def by_number(fold: str) -> tuple[int, str]:
    """Return a sort key that puts fold 10 after fold 9."""
    return (len(fold), fold) if fold.isdecimal() else (sys.maxsize, fold)
