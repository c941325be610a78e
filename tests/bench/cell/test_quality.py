"""Predictions held against labels: intervals and paired differences, of logits as they are."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score

from bench.cell.quality import Assessment, predict_logits
from bench.records.predictions import Predictions, read_predictions
from bench.records.store import Store
from fastast.training.evaluation.rates import Stopwatch


def multi_label(clips: int = 80, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = (generator.random((clips, classes)) < 0.25).astype(np.uint8)
    labels[:, 2] = 0
    return labels, (generator.normal(size=(clips, classes)) + labels).astype(np.float32)


def assess(labels: np.ndarray, logits: np.ndarray, task: str = "multi_label", activation: str = "sigmoid"):
    return Assessment(labels, Predictions(logits, activation), task)


def test_the_interval_contains_the_metric_and_shrinks_with_more_clips() -> None:
    widths = []
    for clips in (40, 1000):
        found = assess(*multi_label(clips))
        low, high = found.map_interval
        assert low < found.metrics.mAP < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_a_model_does_not_differ_from_itself_and_a_paired_difference_is_narrower_than_an_interval() -> None:
    labels, logits = multi_label(200)
    found = assess(labels, logits)
    same = found.minus(found, against="x")
    assert (same.mAP, same.interval, same.top1_agreement, same.largest_score_difference) == (0, (0, 0), 1, 0)
    assert (same.accuracy, same.accuracy_interval) == (None, None)
    near = assess(labels, logits + np.random.default_rng(1).normal(0, 0.1, logits.shape).astype(np.float32))
    delta = near.minus(found, against="x")
    assert delta.mAP == pytest.approx(near.metrics.mAP - found.metrics.mAP)
    low, high = near.map_interval
    assert delta.interval[1] - delta.interval[0] < (high - low) / 2
    scores = [1 / (1 + np.exp(-one.predictions.values.astype(float))) for one in (near, found)]
    assert delta.largest_score_difference == pytest.approx(np.abs(scores[0] - scores[1]).max())


def test_top1_agreement_counts_clips() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.uint8)
    mine = assess(labels, np.array([[2.0, -2], [2, -2], [2, -2], [-2, 2]], np.float32))
    theirs = assess(labels, np.array([[2.0, -2], [-2, 2], [2, -2], [-2, 2]], np.float32))
    assert mine.minus(theirs, against="x").top1_agreement == 0.75


def single_label(clips: int, skill: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(5).integers(4, size=clips)
    labels = np.eye(4, dtype=np.uint8)[truth]
    return labels, (generator.normal(size=(clips, 4)) + skill * labels).astype(np.float32)


def test_a_single_label_set_is_scored_by_its_accuracy() -> None:
    labels, logits = single_label(150, 1.5, 0)
    found = assess(labels, logits, "single_label", "softmax")
    right = (logits.argmax(1) == labels.argmax(1)).astype(float)
    assert found.accuracy == pytest.approx(accuracy_score(labels.argmax(1), logits.argmax(1)))
    theirs = stats.bootstrap((right,), np.mean, method="basic", n_resamples=5000, rng=np.random.default_rng(0))
    assert found.accuracy_interval == pytest.approx(theirs.confidence_interval, abs=0.015)
    other = assess(*single_label(150, 0.5, 1), "single_label", "softmax")
    delta = other.minus(found, against="x")
    assert delta.accuracy == pytest.approx(other.accuracy - found.accuracy)
    wrong = (other.predictions.values.argmax(1) == labels.argmax(1)).astype(float)
    paired = stats.bootstrap((wrong - right,), np.mean, method="basic", n_resamples=5000, rng=np.random.default_rng(0))
    assert delta.accuracy_interval == pytest.approx(paired.confidence_interval, abs=0.015)
    assert assess(labels, logits).accuracy is None  # of a set with any number of labels


def test_metrics_are_those_of_the_scores_that_the_loss_makes() -> None:
    labels, logits = single_label(60, 1.0, 2)
    logits += np.linspace(-20, 20, 60, dtype=np.float32)[:, None]  # every clip at another level: nothing to a softmax
    softmax = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    expected = np.mean([average_precision_score(labels[:, c], softmax[:, c]) for c in range(4)])
    assert assess(labels, logits, "single_label", "softmax").metrics.mAP == pytest.approx(expected)
    assert assess(labels, logits, "single_label", "sigmoid").metrics.mAP < expected - 0.1


@pytest.mark.parametrize("start", [-20.0, 9.0, 40.0])
def test_a_perfect_ranking_far_from_zero_is_stored_and_read_as_one(tmp_path, start: float) -> None:
    """Their sigmoids are one tie in float16, and at 40 in float32 too: average precision 0.01."""
    logits = (start + 0.1 * np.arange(100, dtype=np.float32))[:, None]
    labels = np.zeros((100, 1), np.uint8)
    labels[-1] = 1
    path = Store(tmp_path, "abacus", "cheap").write_predictions("0" * 12, Predictions(logits, "sigmoid"), {})
    stored, _ = read_predictions(path)
    found = Assessment(labels, stored, "multi_label")
    assert found.metrics.mAP == 1
    assert np.nanmin(found.precisions) == 1  # of the replicates that drew the positive


def test_logits_are_the_models_in_the_order_of_clips_and_classes() -> None:
    features = np.random.default_rng(2).normal(size=(7, 4, 3)).astype(np.float32)
    arguments = {"device": "cpu", "dtype": "float32", "batch_size": 3}
    logits = predict_logits(lambda x: x.sum(1), features, **arguments)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, features.sum(1), rtol=1e-5)
    matched = predict_logits(lambda x: x.sum(1), features, columns=(2, 0, 1), **arguments)
    np.testing.assert_array_equal(matched, logits[:, [2, 0, 1]])


def test_loading_and_model_are_timed_apart_and_without_the_first_batch() -> None:
    class Slow(np.ndarray):
        """Features on a slow disk: 20 ms a batch."""

        def __getitem__(self, key):
            time.sleep(0.02)
            return np.asarray(self)[key]

    calls = []

    def model(x: torch.Tensor) -> torch.Tensor:
        calls.append(time.sleep(0.005 if calls else 1.0))
        return x.sum(1)

    watch = Stopwatch(torch.device("cpu"))
    features = np.zeros((7, 4, 3), np.float32).view(Slow)
    predict_logits(model, features, device="cpu", dtype="float32", batch_size=2, watch=watch)
    clips, seconds = watch.result()
    assert (clips, len(calls)) == (5, 4)
    assert set(seconds) == {"loading", "model"}
    assert seconds["loading"] >= 3 * 0.02
    assert 3 * 0.005 <= seconds["model"] < 1.0


def test_draws_without_a_positive_clip_have_no_part_in_an_interval() -> None:
    labels = np.zeros((40, 2), np.uint8)
    labels[0] = 1  # one clip: more than a third of the draws have none of it
    logits = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    found = assess(labels, logits)
    assert np.isnan(found.precisions).any()
    assert np.isfinite(found.map_interval).all()
    assert np.isfinite(found.minus(assess(labels, logits[::-1].copy()), against="x").interval).all()
