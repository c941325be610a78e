"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from fastast.training.metrics import measure


@pytest.mark.parametrize("ties", [False, True])
def test_they_are_those_of_scikit_learn(ties: bool) -> None:
    random = np.random.default_rng(1)
    labels = (random.random((200, 6)) < [0.5, 0.02, 0.1, 0.9, 0.3, 0.3]).astype(np.float32)
    scores = random.random((200, 6)) + 0.3 * labels
    if ties:
        scores = (scores * 5).round() / 5
    found = measure(labels, scores)
    precisions = [average_precision_score(labels[:, j], scores[:, j]) for j in range(6)]
    area = float(np.mean([roc_auc_score(labels[:, j], scores[:, j]) for j in range(6)]))
    assert found.mAP == pytest.approx(np.mean(precisions), abs=1e-12)
    assert math.isclose(found.AUC, area, abs_tol=1e-12)
    assert found.d_prime == pytest.approx(math.sqrt(2) * norm.ppf(area))
    assert found.accuracy == pytest.approx(labels[np.arange(200), scores.argmax(1)].mean())
    assert found.chance == pytest.approx(labels.mean())


def test_classes_without_positives_or_negatives_are_left_out() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], np.float32)
    scores = np.array([[0.9, 0.3, 0.1], [0.5, 0.2, 0.2], [0.1, 0.1, 0.3]])
    found = measure(labels, scores)
    assert found.without_positives == 1
    assert found.mAP == pytest.approx((average_precision_score(labels[:, 0], scores[:, 0]) + 1) / 2)
    assert math.isclose(found.AUC, roc_auc_score(labels[:, 0], scores[:, 0]))


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 clips have scores that are not finite"):
        measure(np.ones((2, 1)), np.array([[0.5], [np.nan]]))
    with pytest.raises(ValueError, match="no class has a positive clip"):
        measure(np.zeros((2, 1)), np.zeros((2, 1)))
