"""Metrics of scores: average precision, area under the ROC curve, d' and accuracy, also of bootstrap replicates.

Shapes: `n` clips, `c` classes, `b` bootstrap replicates.

Scores are any numbers that rank the clips of a class; logits are best, because probabilities that saturate become ties,
and ties change average precision. Every "AP" and "accuracy" in the project is computed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Task = Literal["multi_label", "single_label"]
"""Whether a clip has any number of labels (scored by mAP, AUC and d') or exactly one (scored by top-1 accuracy)."""
METRIC_OF: dict[Task, str] = {"multi_label": "mAP", "single_label": "accuracy"}
"""The main metric of each task."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Macro means over the classes that have a positive clip, accuracy, and the values of each class."""

    mAP: float  # noqa: N815
    """Mean average precision."""
    AUC: float
    """Mean area under the ROC curve, over the classes that also have a negative clip; NaN where none has."""
    d_prime: float
    """sqrt(2) * inverse normal of AUC, as in the AudioSet papers."""
    accuracy: float
    """Share of clips whose highest score is at one of their labels."""
    chance: float
    """Expected mAP of scores that carry no information: the mean share of positive clips."""
    without_positives: int
    """Number of classes without a positive clip, which the means leave out."""
    AP: Floats
    """Average precision of each class, (c,); NaN without positives."""
    class_AUC: Floats  # noqa: N815
    """Area under the ROC curve of each class, (c,); NaN without positives or without negatives."""

    def scalars(self) -> dict[str, float]:
        """Return the metrics by name, without the values of each class."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}


def measure_scores(labels: NDArray[np.generic], scores: NDArray[np.floating]) -> Metrics:
    """Return the metrics of scores (n, c) against labels (n, c) of 0 and 1.

    A class without a positive clip has no average precision (scikit-learn says 0) and is left out of the means.
    Raises ValueError where a score is not finite or no class has a positive clip.
    """
    from scipy.special import ndtri
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, values = np.asarray(labels) > 0.5, np.asarray(scores, dtype=np.float64)
    _check_finite(values)
    positives = truth.sum(axis=0)  # (c,)
    present = np.flatnonzero(positives)
    if not len(present):
        raise ValueError("no class has a positive clip; take more clips")
    precisions, areas = np.full(len(positives), np.nan), np.full(len(positives), np.nan)
    for column in present:
        precisions[column] = average_precision_score(truth[:, column], values[:, column])
        if positives[column] < len(truth):
            areas[column] = roc_auc_score(truth[:, column], values[:, column])
    area = math.nan if np.isnan(areas).all() else float(np.nanmean(areas))
    return Metrics(
        mAP=float(np.nanmean(precisions)),
        AUC=area,
        d_prime=float(math.sqrt(2) * ndtri(area)),
        accuracy=float(hits(truth, values).mean()),
        chance=float(np.mean(positives[present] / len(truth))),
        without_positives=int((positives == 0).sum()),
        AP=precisions,
        class_AUC=areas,
    )


def _check_finite(scores: NDArray[np.floating]) -> None:
    """Raise ValueError where a score in (n, c) is NaN or infinite: the ranking would mean nothing."""
    if bad := int((~np.isfinite(scores)).any(axis=1).sum()):
        raise ValueError(f"{bad} of {len(scores)} clips have scores that are not finite")


def hits(labels: NDArray[np.generic], scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether each clip's highest score is at one of its labels, (n,).

    labels, scores: (n, c). Raises ValueError where a score is not finite.
    """
    _check_finite(scores)
    return np.asarray(labels)[np.arange(len(labels)), np.argmax(scores, axis=1)] > 0.5


def mean_average_precisions(
    labels: NDArray[np.generic], scores: NDArray[np.floating], weights: NDArray[np.int64]
) -> Floats:
    """Return the macro mean average precision of every replicate, (b,).

    labels: (n, c) of 0 and 1; scores: (n, c); weights: (b, n), how often each replicate draws each clip. A replicate
    leaves out the classes of which it drew no positive clip.
    """
    return macro_mean(average_precisions(labels, scores, weights))


def macro_mean(each: Floats) -> Floats:
    """Return every replicate's mean over classes, (b,); each: (b, c), where NaN marks a class to leave out."""
    drawn = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        return np.where(drawn, each, 0).sum(axis=1) / drawn.sum(axis=1)


def average_precisions(labels: NDArray[np.generic], scores: NDArray[np.floating], weights: NDArray[np.int64]) -> Floats:
    """Return the average precision of every class in every replicate, (b, c); NaN where no positive was drawn.

    Arguments as for `mean_average_precisions`. Equal scores share a threshold, as in scikit-learn, which would have to
    sort the clips again for every replicate; here, one sort per class serves all of them.
    Raises ValueError where a score is not finite.
    """
    truth, values = np.asarray(labels) > 0.5, np.asarray(scores, dtype=np.float64)
    _check_finite(values)
    smallest = np.min_scalar_type(int(np.max(weights, initial=1)))
    by_clip = np.ascontiguousarray(np.asarray(weights).T, dtype=smallest)  # (n, b)
    columns = [_average_precision(truth[:, j], values[:, j], by_clip) for j in range(truth.shape[1])]
    return np.stack(columns, axis=1)


def accuracies(labels: NDArray[np.generic], scores: NDArray[np.floating], weights: NDArray[np.int64]) -> Floats:
    """Return the accuracy of every replicate, (b,); arguments as for `mean_average_precisions`."""
    return np.asarray(weights @ hits(labels, scores) / weights.sum(axis=1), dtype=np.float64)


def measure_by(metric: str, labels: NDArray[np.generic], scores: NDArray[np.floating]) -> float:
    """Return one metric, `mAP` or `accuracy`; other arguments as for `measure_scores`.

    Raises ValueError where a score is not finite and, for mAP, where no class has a positive clip.
    """
    if metric == "accuracy":
        return float(hits(labels, scores).mean())
    return measure_scores(labels, scores).mAP


def replicates_by(
    metric: str, labels: NDArray[np.generic], scores: NDArray[np.floating], weights: NDArray[np.int64]
) -> Floats:
    """Return one metric of every replicate, (b,), named as for `measure_by`; others as for `mean_average_precisions`.

    Raises ValueError where a score is not finite.
    """
    return (accuracies if metric == "accuracy" else mean_average_precisions)(labels, scores, weights)


def _average_precision(label: NDArray[np.bool_], score: Floats, by_clip: NDArray[np.generic]) -> Floats:
    """Return the average precision of one class in every replicate, (b,); label, score: (n,); by_clip: (n, b)."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    positive = np.flatnonzero(label[order])  # ranks of the positives, from 0
    if not len(positive):
        return np.full(by_clip.shape[1], np.nan)
    # Recall grows only at thresholds that admit a positive: all clips between two of these are one sum.
    last_of_tie = np.searchsorted(-ranked, -ranked[positive], side="right") - 1
    ends, starts = np.unique(last_of_tie, return_index=True)  # (t,) thresholds, and the first positive of each
    between = np.append(0, ends[:-1] + 1)
    drawn = np.add.reduceat(by_clip[order[: ends[-1] + 1]], between, axis=0, dtype=np.int64).cumsum(axis=0)  # (t, b)
    gained = np.add.reduceat(by_clip[order[positive]], starts, axis=0, dtype=np.int64)  # (t, b)
    found = gained.cumsum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((gained * (found / np.maximum(drawn, 1))).sum(axis=0) / found[-1], dtype=np.float64)
