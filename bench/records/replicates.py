"""What is left of predictions in a folder without room for them: their score, as measured and in every replicate.

A file of them stands where the predictions stood and is a fiftieth of their size. All replicates of one number of
clips draw the same ones, so that paired differences are those of the predictions; what needs single clips is gone.
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
"""What a file of replicates has beside them, and beside hashes."""


@dataclass(frozen=True, kw_only=True)
class ScoreReplicates:
    """The score of all clips together, without what a model said of each."""

    shape: tuple[int, int]
    """(n, c) of the predictions that it was computed from."""
    metric: str
    """Of `fastast.metrics.METRIC_OF`."""
    seed: int
    """Of the clips that replicates draw."""
    value: float
    """As measured."""
    values: Floats
    """(b,)"""


def encode_replicates(kept: ScoreReplicates, hashes: Mapping[str, str]) -> bytes:
    """Return the content of a file of replicates, with the hashes of labels and ids."""
    arrays: dict[str, Any] = {name: np.array(value) for name, value in hashes.items()}
    for name in FACTS:
        arrays[name] = np.array(getattr(kept, name))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, replicates=kept.values, **arrays)
    return buffer.getvalue()


def read_kept(path: Path) -> tuple[Predictions | ScoreReplicates, dict[str, str]]:
    """Return the predictions of a cell, or what is left of them, and the hashes of labels and ids.

    Raises PredictionsError where it is no whole file of either; FileNotFoundError where there is none.
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
