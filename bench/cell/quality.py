"""Quality of a classifier: its logits, metrics, and how sure they are.

What is stored are float32 logits, from which a reader of the file gets the same numbers: probabilities saturate, and
their ties change average precision.
Shapes: `n` clips, `c` classes, `f` frames, `m` mel bins, `b` bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.records.predictions import Predictions
from bench.records.schema import Delta
from fastast.metrics import Metrics, Task, accuracies, mean_average_precisions, measure_scores
from fastast.statistics import CLIP_REPLICATES, CLIPS_SEED, Floats, clip_weights, finite_interval

if TYPE_CHECKING:
    from fastast.training.evaluation.rates import Stopwatch

PREDICTION_BATCH = 16
"""Clips a batch when predicting; it does not change the logits beyond rounding."""


def predict_logits(
    model: Callable[[Any], Any],
    features: NDArray[np.float32],
    *,
    device: str,
    dtype: str,
    columns: Sequence[int] | None = None,
    batch_size: int = PREDICTION_BATCH,
    watch: Stopwatch | None = None,
) -> NDArray[np.float32]:
    """Return the logits of all clips, features (n, f, m) -> (n, c).

    `columns`: which of the model's outputs each class of the data is; None where the order is the same. `watch`: counts
    what `loading` and the `model` take.
    """
    import torch

    from bench.cell.inputs import fed_dtype
    from fastast.training.evaluation.rates import Stopwatch

    watch = watch or Stopwatch(torch.device(device))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            with watch.part("loading"):
                batch = torch.from_numpy(np.array(features[start : start + batch_size]))  # (b, f, m)
                batch = batch.to(device, fed_dtype(dtype))
            with watch.part("model"):
                parts.append(model(batch).float().cpu().numpy())  # (b, c)
            watch.end_batch(len(batch))
    whole = np.concatenate(parts)
    return whole if columns is None else whole[:, list(columns)]


@dataclass(frozen=True)
class Assessment:
    """Predictions held against the labels of their clips; replicates are drawn when they are first asked for."""

    labels: NDArray[np.uint8]
    """(n, c) of 0 and 1."""
    predictions: Predictions
    """(n, c)"""
    task: Task
    """What counts: of single labels the accuracy too."""
    replicates: int = CLIP_REPLICATES

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of all clips. Raises ValueError where logits are not finite, or no class has a positive clip."""
        return measure_scores(self.labels, self.predictions.ranking)

    @cached_property
    def _weights(self) -> NDArray[np.int64]:
        return clip_weights(len(self.labels), seed=CLIPS_SEED, replicates=self.replicates)  # (b, n)

    @cached_property
    def precisions(self) -> Floats:
        """Mean average precision of every replicate, (b,)."""
        return mean_average_precisions(self.labels, self.predictions.ranking, self._weights)

    @cached_property
    def accuracies(self) -> Floats:
        """Accuracy of every replicate, (b,)."""
        return accuracies(self.labels, self.predictions.ranking, self._weights)

    @property
    def map_interval(self) -> tuple[float, float]:
        """Bootstrap interval over clips of the mean average precision."""
        return _interval(self.metrics.mAP, self.precisions)

    @property
    def accuracy(self) -> float | None:
        """Top-1 accuracy; None where a clip can have several labels."""
        return self.metrics.accuracy if self.task == "single_label" else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Its bootstrap interval over clips."""
        return None if self.accuracy is None else _interval(self.accuracy, self.accuracies)

    def minus(self, reference: Assessment, *, against: str) -> Delta:
        """Return the paired difference to another model on the same clips: every replicate draws the same for both."""
        difference = self.metrics.mAP - reference.metrics.mAP
        mine, theirs = self.predictions, reference.predictions
        accuracy = accuracy_interval = None
        if self.task == "single_label":
            accuracy = self.metrics.accuracy - reference.metrics.accuracy
            accuracy_interval = _interval(accuracy, self.accuracies - reference.accuracies)
        return Delta(
            mAP=difference,
            interval=_interval(difference, self.precisions - reference.precisions),
            accuracy=accuracy,
            accuracy_interval=accuracy_interval,
            against=against,
            top1_agreement=float((mine.ranking.argmax(axis=1) == theirs.ranking.argmax(axis=1)).mean()),
            largest_score_difference=float(np.abs(mine.scores - theirs.scores).max()),
        )


def _interval(value: float, replicates: Floats) -> tuple[float, float]:
    """Return the interval over the replicates that drew a positive clip of any class. Raises ValueError for none."""
    if (found := finite_interval(value, replicates)) is None:
        raise ValueError("quality: no draw of the clips has a positive of any class; measure on more clips")
    return found
