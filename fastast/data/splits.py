"""Compare the splits of a data set: they must have the same classes, and should not share clips."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from fastast.classes import describe_difference
from fastast.data.folders import FolderSet
from fastast.data.training_set import DataError, DataWarning, TrainingSet, all_ids
from fastast.names import counted


def difference_in_classes(name: str, data: TrainingSet, first: str, reference: TrainingSet) -> str:
    """Say how the classes of a split, one per label column, differ from those of another; empty where they do not."""
    if tuple(data.classes) == tuple(reference.classes):
        return ""
    difference = describe_difference(reference.classes, data.classes, first, name) or "the same names in another order"
    return (
        f"the classes of the split {name} are not those of {first}: {difference}. Every split must have all "
        "classes, in the same order"
    )


def check_classes(splits: Mapping[str, TrainingSet]) -> None:
    """Raise DataError where two splits do not have the same classes in the same order."""
    first, reference = next(iter(splits.items()))
    for name, data in splits.items():
        if difference := difference_in_classes(name, data, first, reference):
            raise DataError(f"data: {difference}")


def shared_clips(one: TrainingSet, other: TrainingSet) -> list[str]:
    """Return the ids that are in both splits, and pairs of ids that are the same file (`0.wav = 0`)."""
    found = sorted(set(all_ids(one)) & set(all_ids(other)))
    if isinstance(one, FolderSet) and isinstance(other, FolderSet):
        there = {entry.path: entry.id for entry in one.entries}
        pairs = ((there.get(entry.path, entry.id), entry.id) for entry in other.entries)
        found += [f"{mine} = {theirs}" for mine, theirs in pairs if mine != theirs]
    return found


def warn_of_shared_clips(splits: Mapping[str, TrainingSet]) -> None:
    """Warn of training clips that are in another split too: results on them say nothing about new clips."""
    for name, data in splits.items():
        if name != "train" and (shared := shared_clips(splits["train"], data)):
            warnings.warn(
                f"data: {counted(len(shared), 'clip')} of the {len(data):,} in the split {name} "
                f"{'is' if len(shared) == 1 else 'are'} in train too, such as {shared[0]}: results on them say nothing "
                "about new clips",
                DataWarning,
                stacklevel=2,
            )
