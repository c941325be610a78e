"""The clips that quality is measured on, as a cell names them, before any audio is read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.sweep.config import DataConfig
from fastast.data.identity import hash_ids

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastast.data.datasets import DataOptions
    from fastast.data.training_set import TrainingSet

MIXED = "soundscapes"
"""The one data set whose clips are mixed: they are the same everywhere, so their number says which they are."""


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """Clips of a split, as a cell names them."""

    dataset: str
    split: str
    clips: int
    options: DataOptions
    """The data set's own options, among them where its files are."""
    classes: tuple[str, ...]
    ids_sha256: str
    """Hash of the ids of the clips."""

    def question(self) -> dict[str, Any]:
        """Return the clips' part of the question: which they are, not where they are stored."""
        asked: dict[str, Any] = {"dataset": self.dataset, "split": self.split, "clips": self.clips}
        for field in dataclasses.fields(self.options):  # type: ignore[arg-type]
            value = getattr(self.options, field.name)
            if field.name == "root" or field.name.endswith("_clips") or value == field.default:
                continue
            asked[field.name] = list(value) if isinstance(value, tuple) else value
        if self.dataset == MIXED:
            return asked | {"seconds": float(getattr(self.options, "seconds"))}  # noqa: B009 - of this data set only
        return asked | getattr(self.options, "holds", {}) | {"ids_sha256": self.ids_sha256}

    def labels(self, *, skipped: Collection[str] = ()) -> NDArray[np.uint8]:
        """Return the labels (clips, classes) of all clips but those whose ids are in `skipped`; no audio is read.

        Raises DataError as `open` does.
        """
        import numpy as np

        data, chosen = self.open()
        kept = [index for index in chosen if data.id(index) not in skipped]
        return np.stack([data.labels(index, 0) for index in kept]).astype(np.uint8)

    def open(self) -> tuple[TrainingSet, tuple[int, ...]]:
        """Return the split and the indices of the clips in it.

        Raises DataError where clips or classes are not those that the cell names, as on a node with other files.
        """
        from fastast.data.training_set import DataError

        data = self.options.split(self.split)
        chosen = choose_clips(data, self.clips)
        found = hash_ids(data.id(index) for index in chosen)
        if found != self.ids_sha256 or data.classes != self.classes:
            raise DataError(
                f"{self.dataset}: the {self.split} split has other clips or classes here (ids {found[:12]}) than where "
                f"the sweep was started (ids {self.ids_sha256[:12]}); give both the same files"
            )
        return data, chosen


def resolve_data(config: DataConfig) -> DataRef:
    """Return the clips that a sweep asks for; only lists of clips are read.

    Raises DataError for files that are missing or wrong, and for more clips than there are.
    """
    from fastast.data.datasets import open_split
    from fastast.data.training_set import DataError

    options = config.build()
    data = open_split(config.dataset, options, config.split)
    count = len(data) if config.clips is None else config.clips
    if count > len(data):
        raise DataError(f"data: clips is {count}; the {config.split} split of {config.dataset} has {len(data)}")
    ids = hash_ids(data.id(index) for index in choose_clips(data, count))
    return DataRef(
        dataset=config.dataset,
        split=config.split,
        clips=count,
        options=options,
        classes=tuple(data.classes),
        ids_sha256=ids,
    )


def choose_clips(data: TrainingSet, count: int) -> tuple[int, ...]:
    """Return the indices of `count` clips, in the order of the set: those whose ids have the lowest hashes.

    Lists are often sorted by class, so that their first clips would cover few classes. The hash draws the same clips
    everywhere, and a smaller selection is always part of a larger one.
    """
    if count >= len(data):
        return tuple(range(len(data)))
    drawn = sorted(range(len(data)), key=lambda index: hashlib.sha256(data.id(index).encode()).digest())
    return tuple(sorted(drawn[:count]))
