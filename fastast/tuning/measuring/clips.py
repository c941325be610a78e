"""The clips that a tuner calibrates on, and those that its answer is checked on.

Shapes: `k` clips, `c` classes, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.data.augment import Augmentation
from fastast.data.identity import hash_ids
from fastast.data.sampling import load_batches
from fastast.data.training_set import TrainingSet
from fastast.frontend import Frontend
from fastast.tuning.target import TuningError

LEAST = 20
"""Minimum number of clips; fewer say too little."""
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class TuningClips:
    """Clips in memory, in the form that the model takes."""

    what: str
    """Description of the clips, for messages."""
    features: Tensor
    """(k, f, m) normalised filterbanks."""
    labels: NDArray[np.uint8]
    """(k, c) 1 for each class that a clip contains."""
    ids: tuple[str, ...]
    """Each clip's id in the data set."""
    skipped: tuple[tuple[str, str], ...]
    """Name and fault of each corrupt clip that was left out."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids_sha256(self) -> str:
        """SHA-256 of the ids."""
        return hash_ids(self.ids)


def two_halves(count: int, wanted: int) -> tuple[list[int], list[int]]:
    """Return the indices of at most `wanted` of `count` clips, spread evenly and dealt alternately to two halves."""
    places = spread(count, wanted)
    return places[::2], places[1::2]


def spread(count: int, wanted: int) -> list[int]:
    """Return the indices of at most `wanted` of `count` clips, spread evenly."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, wanted)).round()]


def read_clips(
    what: str, data: TrainingSet, places: Sequence[int], frontend: Frontend, *, workers: int = 0
) -> TuningClips:
    """Read the clips at `places` of a data set. Raises TuningError if fewer than `LEAST` are given or readable."""
    if len(places) < LEAST:
        raise TuningError(
            f"tune: {what}: {len(places)} clips; at least {LEAST} are needed: use a larger split or larger --clips"
        )
    features, labels = [], []
    indices: list[int] = []
    skipped: list[tuple[str, str]] = []
    parts = iter([[(place, 0) for place in places[i : i + _BATCH]] for i in range(0, len(places), _BATCH)])
    for batch in load_batches(data, parts, workers=workers, replace=False):
        skipped += batch.skipped
        if len(batch.indices):
            features.append(Augmentation.plain(batch, frontend))  # (b, f, m)
            labels.append(batch.labels.numpy() > 0.5)
            indices += batch.indices.tolist()
    if len(indices) < LEAST:
        faults = f"; the first fault: {': '.join(skipped[0])}" if skipped else ""
        raise TuningError(f"tune: {what}: only {len(indices)} of {len(places)} clips could be read{faults}")
    return TuningClips(
        what=what,
        features=torch.cat(features),
        labels=np.concatenate(labels).astype(np.uint8),
        ids=tuple(data.id(index) for index in indices),
        skipped=tuple(skipped),
    )


def check_positives(clips: TuningClips, classes: Sequence[str], least: int) -> None:
    """Raise TuningError if any class has too few positive clips for a meaningful average precision."""
    positives = clips.labels.sum(axis=0)
    poor = [int(i) for i in np.argsort(positives, kind="stable") if positives[i] < least]
    if not poor:
        return
    shown = ", ".join(f"{classes[i]} ({positives[i]})" for i in poor[:5])
    more = f" and {len(poor) - 5} more" if len(poor) > 5 else ""
    raise TuningError(
        f"tune: {clips.what}: {len(poor)} of {len(classes)} classes have fewer than {least} positive clips among "
        f"{len(clips)}: {shown}{more}. Use more clips (--clips, or another --split), or ask for fewer positives: "
        f"--min-positives {max(0, int(positives.min()))}"
    )
