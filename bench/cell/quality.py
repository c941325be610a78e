"""Quality of a classifier: its logits, its metrics, and their intervals.

Logits are stored in float32, from which readers of the file get the same numbers. Probabilities would saturate, and
ties among them change average precision.
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
"""Batch size for predictions; it does not affect logits beyond rounding."""


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

    `columns`: for each class of the data, the index of the model's output; None if the order is the same. `watch`:
    times the parts `loading` and `model`.
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
    """Predictions compared with the labels of their clips; bootstrap replicates are drawn on first use."""

    labels: NDArray[np.uint8]
    """Labels (n, c), 0 or 1."""
    predictions: Predictions
    """Predictions (n, c)."""
    task: Task
    """Whether a clip has one label or several; with one, accuracy is computed too."""
    replicates: int = CLIP_REPLICATES

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of all clips. Raises ValueError if logits are not finite or no class has a positive clip."""
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
        """Top-1 accuracy; None if a clip can have several labels."""
        return self.metrics.accuracy if self.task == "single_label" else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Bootstrap interval of the accuracy over clips."""
        return None if self.accuracy is None else _interval(self.accuracy, self.accuracies)

    def minus(self, reference: Assessment, *, against: str) -> Delta:
        """Return the paired difference to another model on the same clips; replicates draw the same clips for both."""
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
    """Return the interval over the replicates that drew a positive clip. Raises ValueError if none did."""
    if (found := finite_interval(value, replicates)) is None:
        raise ValueError("quality: no draw of the clips has a positive of any class; measure on more clips")
    return found
