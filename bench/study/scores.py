"""What is kept of a training's test scores: the mAP of every bootstrap replicate of the clips, and AP by class.

The replicates of all trainings draw the same clips, so that the difference of any two of them has its interval without
the scores themselves, which would take a hundred times the room.

Shapes: `k` clips, `c` classes, `b` replicates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from bench.measure.statistics import clip_weights
from bench.study.trainings import StudyError
from fastast.metrics import average_precisions, mean_average_precisions
from fastast.writing import write_whole

REPLICATES = "replicates.safetensors"
SEED = 0
"""Of the clips that the replicates draw."""
COUNT = 1000
"""Replicates."""
_CLASSES = "AP "
"""Before the schedule, in the file's keys."""


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Of one training."""

    clips: int
    """Test clips."""
    labels: str
    """Hash of their labels: only replicates of the same clips can be compared."""
    by_schedule: dict[str, NDArray[np.float64]]
    """mAP of every replicate, (b,)."""
    by_class: dict[str, NDArray[np.float64]]
    """Average precision of every class, (c,), NaN where no clip has it; none in files of before it was kept."""


def write_replicates(scores: Path, out: Path) -> Path:
    """Read the scores that a training kept; write the mAP of replicates and the AP of classes for every schedule."""
    tensors = load_file(scores)
    labels = tensors.pop("labels")  # (k, c)
    weights = clip_weights(len(labels), seed=SEED, replicates=COUNT)  # (b, k)
    found = {
        name.removeprefix("scores "): mean_average_precisions(labels, values, weights).astype(np.float32)
        for name, values in tensors.items()
    }
    once = np.ones((1, len(labels)), np.int64)  # every clip as it is
    for name, values in tensors.items():
        found[f"{_CLASSES}{name.removeprefix('scores ')}"] = average_precisions(labels, values, once)[0].astype(
            np.float32
        )
    found["labels"] = np.frombuffer(hashlib.sha256(labels.tobytes()).digest(), np.uint8)
    found["clips"] = np.array([len(labels)])
    write_whole(out, save(found))
    return out


def read_replicates(folder: Path) -> Replicates:
    """Return the replicates of a training. Raises StudyError where there are none."""
    path = folder / REPLICATES
    if not path.is_file():
        raise StudyError(f"{path} is missing: python -m bench study publish makes it of the scores a training kept")
    found = load_file(path)
    labels, clips = found.pop("labels").tobytes().hex(), int(found.pop("clips")[0])
    values = {name: numbers.astype(np.float64) for name, numbers in found.items()}
    by_class = {name.removeprefix(_CLASSES): values.pop(name) for name in list(values) if name.startswith(_CLASSES)}
    return Replicates(clips=clips, labels=labels, by_schedule=values, by_class=by_class)
