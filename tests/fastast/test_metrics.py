"""Metrics against scikit-learn and hand computations, and what they are when other clips are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from fastast.metrics import (
    accuracies,
    average_precisions,
    mean_average_precisions,
    measure_by,
    measure_scores,
    replicates_by,
)


@pytest.mark.parametrize("ties", [False, True])
def test_they_are_those_of_scikit_learn(ties: bool) -> None:
    random = np.random.default_rng(1)
    labels = (random.random((200, 6)) < [0.5, 0.02, 0.1, 0.9, 0.3, 0.3]).astype(np.float32)
    scores = random.random((200, 6)) + 0.3 * labels
    if ties:
        scores = (scores * 5).round() / 5
    found = measure_scores(labels, scores)
    precisions = [average_precision_score(labels[:, j], scores[:, j]) for j in range(6)]
    areas = [roc_auc_score(labels[:, j], scores[:, j]) for j in range(6)]
    np.testing.assert_allclose(found.AP, precisions)
    np.testing.assert_allclose(found.class_AUC, areas)
    assert found.mAP == pytest.approx(np.mean(precisions), abs=1e-12)
    assert math.isclose(found.AUC, np.mean(areas), abs_tol=1e-12)
    assert found.d_prime == pytest.approx(math.sqrt(2) * norm.ppf(np.mean(areas)))
    assert found.accuracy == pytest.approx(labels[np.arange(200), scores.argmax(1)].mean())
    assert found.chance == pytest.approx(labels.mean())


def test_a_small_case_by_hand() -> None:
    found = measure_scores(np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.1]]))
    assert found.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert math.isclose(found.AUC, 3 / 4)


def test_classes_without_positives_or_negatives_are_left_out() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], np.float32)
    scores = np.array([[0.9, 0.3, 0.1], [0.5, 0.2, 0.2], [0.1, 0.1, 0.3]])
    found = measure_scores(labels, scores)
    assert found.without_positives == 1
    assert found.mAP == pytest.approx((average_precision_score(labels[:, 0], scores[:, 0]) + 1) / 2)
    assert math.isclose(found.AUC, roc_auc_score(labels[:, 0], scores[:, 0]))
    assert np.isnan(found.AP).tolist() == [False, True, False]
    assert np.isnan(found.class_AUC).tolist() == [False, True, True]
    assert set(found.scalars()) == {"mAP", "AUC", "d_prime", "accuracy", "chance", "without_positives"}


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 clips have scores that are not finite"):
        measure_scores(np.ones((2, 1)), np.array([[0.5], [np.nan]]))
    with pytest.raises(ValueError, match="no class has a positive clip"):
        measure_scores(np.zeros((2, 1)), np.zeros((2, 1)))


@pytest.mark.parametrize("ends", [(-20.0, -30.0), (9.0, 19.0)])
def test_a_perfect_ranking_of_logits_is_perfect_where_probabilities_tie(
    ends: tuple[float, float],
) -> None:
    logits = np.linspace(*ends, 100, dtype=np.float32)[:, None]
    labels = np.zeros((100, 1))
    labels[logits.argmax()] = 1
    assert measure_scores(labels, logits).mAP == 1
    assert mean_average_precisions(labels, logits, np.ones((1, 100), int)) == 1
    saturated = (1 / (1 + np.exp(-logits.astype(float)))).astype(np.float16)
    assert measure_scores(labels, saturated).mAP < 0.1  # what was stored once


def multi_label(clips: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(6)
    labels = (generator.random((clips, classes)) < 0.2).astype(np.uint8)
    labels[:, 3:4] = 0  # a class without positives
    scores = np.round(generator.random((clips, classes)) + 0.3 * labels, 1)  # many ties
    return labels, scores


def draws(clips: int, replicates: int) -> np.ndarray:
    return np.random.default_rng(0).multinomial(clips, [1 / clips] * clips, size=replicates)


def test_every_replicate_is_scikit_learns_precision_of_the_clips_drawn() -> None:
    labels, scores = multi_label()
    weights = draws(len(labels), 20)
    mean, each = mean_average_precisions(labels, scores, weights), average_precisions(labels, scores, weights)
    for weight, value, by_class in zip(weights, mean, each, strict=True):
        drawn = np.repeat(np.arange(len(labels)), weight)
        expected = [
            average_precision_score(labels[drawn, c], scores[drawn, c]) if labels[drawn, c].any() else np.nan
            for c in range(labels.shape[1])
        ]
        np.testing.assert_allclose(by_class, expected, atol=1e-12)
        assert value == pytest.approx(np.nanmean(expected), abs=1e-12)


def test_a_replicate_without_any_positive_has_no_precision() -> None:
    labels, scores = np.array([[1], [0]]), np.array([[0.2], [0.1]])
    found = mean_average_precisions(labels, scores, np.array([[1, 1], [0, 2]]))
    assert found[0] == 1
    assert np.isnan(found[1])


def test_a_clip_drawn_very_often_counts_that_often() -> None:
    labels, scores = np.array([[1], [0], [1]]), np.array([[0.3], [0.2], [0.1]])
    (found,) = mean_average_precisions(labels, scores, np.array([[1, 70_000, 1]]))
    assert found == pytest.approx((1 + 2 / 70_002) / 2)


def test_every_replicate_is_scikit_learns_accuracy_of_the_clips_drawn() -> None:
    random = np.random.default_rng(3)
    truth, scores = random.integers(4, size=50), random.random((50, 4))
    weights = draws(50, 20)
    found = accuracies(np.eye(4)[truth], scores, weights)
    for weight, value in zip(weights, found, strict=True):
        assert value == pytest.approx(accuracy_score(truth, scores.argmax(1), sample_weight=weight))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", ["mAP", "accuracy"])
def test_scores_that_are_not_finite_have_no_number(metric: str, bad: float) -> None:
    labels, scores = np.eye(3, dtype=np.uint8), np.eye(3)
    assert measure_by(metric, labels, scores) == 1
    scores[1, 2] = bad
    with pytest.raises(ValueError, match="1 of 3 clips have scores that are not finite"):
        measure_by(metric, labels, scores)
    with pytest.raises(ValueError, match="1 of 3 clips have scores that are not finite"):
        replicates_by(metric, labels, scores, np.ones((2, 3), np.int64))
