"""What is kept of predictions in a folder that has no room for them: their score, as measured and in every replicate.

The file takes the place of the predictions and is a fiftieth of their size. For the same number of clips, replicates
draw the same clips, so paired differences are those of the predictions; whatever needs single clips is lost.
Shapes: `n` clips, `c` classes, `b` bootstrap replicates.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.records.predictions import Predictions, taken_from
from fastast.statistics import Floats

FACTS = ("shape", "metric", "seed", "value")
"""What a file of replicates holds besides them and the hashes."""


@dataclass(frozen=True, kw_only=True)
class ScoreReplicates:
    """The score of all clips together, without the predictions for each."""

    shape: tuple[int, int]
    """(n, c) of the predictions that the score was computed from."""
    metric: str
    """Name of the score, one of `fastast.metrics.METRIC_OF`."""
    seed: int
    """Seed for the clips that replicates draw."""
    value: float
    """The score as measured."""
    values: Floats
    """The score in every replicate, (b,)."""


def encode_replicates(kept: ScoreReplicates, hashes: Mapping[str, str]) -> bytes:
    """Return the content of a file of replicates, with the hashes of labels and ids."""
    arrays: dict[str, Any] = {name: np.array(value) for name, value in hashes.items()}
    for name in FACTS:
        arrays[name] = np.array(getattr(kept, name))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, replicates=kept.values, **arrays)
    return buffer.getvalue()


def read_kept(path: Path) -> tuple[Predictions | ScoreReplicates, dict[str, str]]:
    """Return the predictions of a cell, or the replicates of their score, and the hashes of labels and ids.

    Raises PredictionsError where it is not a whole file of either, FileNotFoundError where there is none.
    """
    return taken_from(path, _kept)


def _kept(stored: Mapping[str, Any]) -> Predictions | ScoreReplicates:
    if "replicates" not in stored:
        return Predictions.of(stored)
    clips, classes = (int(count) for count in stored["shape"])
    values = np.asarray(stored["replicates"], dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"replicates of shape {values.shape}")
    return ScoreReplicates(
        shape=(clips, classes),
        metric=str(stored["metric"]),
        seed=int(stored["seed"]),
        value=float(stored["value"]),
        values=values,
    )
