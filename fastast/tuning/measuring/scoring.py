"""Measure how far a model's answers move under a reduction, and how good they are.

Shapes: `k` clips, `c` classes, `b` bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from fastast.metrics import measure_by, replicates_by
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.scores import Activation, to_ranking
from fastast.statistics import Estimate, basic_interval, clip_weights
from fastast.training.evaluation.evaluate import merged
from fastast.tuning.measuring.clips import TuningClips

Floats = NDArray[np.float64]


def predict(
    model: AudioSpectrogramTransformer,
    clips: TuningClips,
    reduction: TokenReduction | None,
    *,
    device: torch.device,
    columns: Sequence[int],
    batch_size: int = 16,
) -> NDArray[np.float32]:
    """Return the logits (k, c) of clips, in the order of the data's classes, with a reduction or without one."""
    found = []
    with torch.inference_mode(), merged(model, reduction):
        for part in clips.features.split(batch_size):
            found.append(model(part.to(device)).float().cpu().numpy())
    return np.concatenate(found)[:, list(columns)]


def divergences(reference: NDArray[np.floating], logits: NDArray[np.floating], activation: Activation) -> Floats:
    """Return the Kullback-Leibler divergence (k,) of every clip's scores from those of a reference, in nats.

    For softmax, the divergence of the distribution over classes; for sigmoids, the sum over classes of the divergence
    of whether each is present.
    """
    p, q = np.asarray(reference, np.float64), np.asarray(logits, np.float64)
    if activation == "softmax":
        each = softmax(p, axis=1) * (log_softmax(p, axis=1) - log_softmax(q, axis=1))
    else:
        there = expit(p)
        each = there * (log_expit(p) - log_expit(q)) + (1 - there) * (log_expit(-p) - log_expit(-q))
    return np.asarray(np.maximum(each.sum(axis=1), 0.0))


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Measures logits against labels by one metric."""

    metric: str
    """`mAP` or `accuracy`."""
    activation: Activation
    """What turns logits into scores."""
    seed: int = 0
    """Seed for the clips that replicates draw: the same for everything that is compared."""
    replicates: int = 1000
    """Number of bootstrap replicates."""

    def value(self, clips: TuningClips, logits: NDArray[np.floating]) -> float:
        """Return the metric. Raises ValueError if any logit is not finite."""
        return measure_by(self.metric, clips.labels, to_ranking(logits, self.activation))

    def estimate(self, clips: TuningClips, logits: NDArray[np.floating]) -> Estimate:
        """Return the metric with a bootstrap interval over clips."""
        return self._estimate(self.value(clips, logits), self._replicates(clips, logits))

    def difference(self, clips: TuningClips, mine: NDArray[np.floating], theirs: NDArray[np.floating]) -> Estimate:
        """Return the metric of `mine` minus that of `theirs`, paired on the same clips, with its interval."""
        value = self.value(clips, mine) - self.value(clips, theirs)
        return self._estimate(value, self._replicates(clips, mine) - self._replicates(clips, theirs))

    def _estimate(self, value: float, replicates: Floats) -> Estimate:
        low, high = basic_interval(value, replicates)
        return Estimate(value=value, low=low, high=high)

    def _replicates(self, clips: TuningClips, logits: NDArray[np.floating]) -> Floats:
        weights = clip_weights(len(clips), seed=self.seed, replicates=self.replicates)  # (b, k)
        return replicates_by(self.metric, clips.labels, to_ranking(logits, self.activation), weights)
