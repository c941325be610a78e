"""What is kept of a training's test scores: mAP, and the mAP of every bootstrap replicate of the clips.

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

from bench.statistics import clip_weights, mean_average_precisions
from bench.study.trainings import StudyError
from fastast.writing import write_whole

REPLICATES = "replicates.safetensors"
SEED = 0
"""Of the clips that the replicates draw."""
COUNT = 1000
"""Replicates."""


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Of one training."""

    clips: int
    """Test clips."""
    labels: str
    """Hash of their labels: only replicates of the same clips can be compared."""
    by_schedule: dict[str, NDArray[np.float64]]
    """mAP of every replicate, (b,)."""


def write_replicates(scores: Path, out: Path) -> Path:
    """Read the scores that a training kept and write the mAP of every replicate under every schedule."""
    tensors = load_file(scores)
    labels = tensors.pop("labels")  # (k, c)
    weights = clip_weights(len(labels), seed=SEED, replicates=COUNT)  # (b, k)
    found = {
        name.removeprefix("scores "): mean_average_precisions(labels, values.astype(np.float64), weights).astype(
            np.float32
        )
        for name, values in tensors.items()
    }
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
    return Replicates(
        clips=clips, labels=labels, by_schedule={name: values.astype(np.float64) for name, values in found.items()}
    )
