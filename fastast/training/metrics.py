"""Metrics of a classifier from its scores.

Shapes: `k` clips, `c` classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Macro means over the classes that have a positive clip."""

    mAP: float  # noqa: N815
    """Mean average precision."""
    AUC: float
    """Mean area under the ROC curve, over the classes that also have a negative clip; NaN where none has."""
    d_prime: float
    """sqrt(2) * inverse normal of AUC, as in the AudioSet papers."""
    accuracy: float
    """Share of the clips whose best score is at one of their labels."""
    chance: float
    """mAP that scores without information have in the mean: the mean share of positive clips."""
    without_positives: int
    """Classes left out."""


def average_precision(labels: NDArray[np.bool_], scores: Scores) -> float:
    """Return sum over thresholds of (recall step) * precision, where equal scores are one threshold; both (k,)."""
    positives, predicted = _cumulated(labels, scores)
    recall = np.diff(positives, prepend=0) / positives[-1]
    return float((recall * positives / predicted).sum())


def area_under_roc(labels: NDArray[np.bool_], scores: Scores) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half; both (k,)."""
    positives, predicted = _cumulated(labels, scores)
    hits = np.concatenate([[0.0], positives / positives[-1]])
    alarms = predicted - positives
    alarms = np.concatenate([[0.0], alarms / alarms[-1]])
    return float((np.diff(alarms) * (hits[1:] + hits[:-1]) / 2).sum())


def _cumulated(labels: NDArray[np.bool_], scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positives and clips at or above every distinct score, from the highest."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return np.cumsum(labels[order], dtype=np.float64)[last], last + 1.0


def measure(labels: NDArray[np.floating], scores: Scores) -> Metrics:
    """Return the metrics of scores (k, c) against labels (k, c) of 0 and 1.

    Raises ValueError where a score is not finite or no class has a positive clip.
    """
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        raise ValueError(f"evaluate: {bad} of {len(scores)} clips have scores that are not finite")
    truth = labels > 0.5
    positives = truth.sum(axis=0)
    present = np.flatnonzero(positives)
    if not len(present):
        raise ValueError("evaluate: no class has a positive clip; take more clips")
    precisions = [average_precision(truth[:, j], scores[:, j]) for j in present]
    areas = [area_under_roc(truth[:, j], scores[:, j]) for j in present if positives[j] < len(truth)]
    area = float(np.mean(areas)) if areas else math.nan
    return Metrics(
        mAP=float(np.mean(precisions)),
        AUC=area,
        d_prime=_d_prime(area),
        accuracy=float(truth[np.arange(len(truth)), scores.argmax(axis=1)].mean()),
        chance=float(np.mean(positives[present] / len(truth))),
        without_positives=int((positives == 0).sum()),
    )


def _d_prime(area: float) -> float:
    if math.isnan(area):
        return math.nan
    return math.copysign(math.inf, area - 0.5) if area in (0.0, 1.0) else math.sqrt(2) * NormalDist().inv_cdf(area)
