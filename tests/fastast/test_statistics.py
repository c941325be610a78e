"""Statistics against NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from fastast.metrics import mean_average_precisions
from fastast.statistics import (
    basic_interval,
    clip_weights,
    ratio_of_medians,
    ratio_replicates,
    relative_spread,
    round_medians,
    summarise,
)


def test_a_summary_is_what_numpy_says_of_the_samples():
    samples = np.random.default_rng(0).gamma(2.0, size=501)
    summary = summarise(samples)
    assert summary.median == pytest.approx(np.median(samples))
    assert summary.iqr == pytest.approx(stats.iqr(samples))
    assert summary.p90 == pytest.approx(np.quantile(samples, 0.9))
    assert summary.p99 == pytest.approx(np.quantile(samples, 0.99))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_rounds_are_cut_from_the_samples_in_order():
    assert round_medians([1, 2, 9, 4, 4, 4], 3).tolist() == [2, 4]
    with pytest.raises(ValueError, match="not whole rounds of 4"):
        round_medians([1, 2, 9, 4, 4, 4], 4)


def test_the_interval_of_a_ratio_is_scipys_paired_percentile_bootstrap():
    generator = np.random.default_rng(1)
    drift = generator.gamma(9.0, size=40)
    above, below = 3 * drift * generator.normal(1, 0.05, 40), 2 * drift * generator.normal(1, 0.05, 40)
    mine = ratio_of_medians(above, below, replicates=20_000)
    theirs = stats.bootstrap(
        (above, below),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert mine.value == pytest.approx(np.median(above) / np.median(below))
    assert mine.low == pytest.approx(theirs.low, abs=0.02)
    assert mine.high == pytest.approx(theirs.high, abs=0.02)


@pytest.mark.parametrize("rounds", [1, 2, 5, 10, 31, 300])
def test_replicates_are_numpys_medians_of_what_is_drawn_to_the_last_bit(rounds):
    generator = np.random.default_rng(rounds)
    above, below = generator.lognormal(size=(2, rounds)).round(1)  # with ties
    drawn = np.random.default_rng(7).integers(rounds, size=(500, rounds))
    expected = np.median(above[drawn], axis=1) / np.median(below[drawn], axis=1)
    assert ratio_replicates(above, below, seed=7, replicates=500).tobytes() == expected.tobytes()


def test_a_replicate_that_draws_what_is_no_number_is_none():
    above = np.array([1.0, np.nan, 3.0])
    drawn = np.random.default_rng(0).integers(3, size=(50, 3))
    found = ratio_replicates(above, np.ones(3), seed=0, replicates=50)
    np.testing.assert_array_equal(found, np.median(above[drawn], axis=1))


def test_drift_that_both_sides_share_does_not_widen_the_interval():
    drift = np.linspace(1, 3, 30)
    paired = ratio_of_medians(2 * drift, drift)
    assert (paired.low, paired.high) == (pytest.approx(2), pytest.approx(2))
    assert relative_spread(2 * drift, drift) == pytest.approx(0)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        estimate = ratio_of_medians(
            generator.lognormal(np.log(3), 0.1, 25), generator.lognormal(np.log(2), 0.1, 25), replicates=400
        )
        hits += estimate.low <= 1.5 <= estimate.high
    assert 0.90 <= hits / 400 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_unpaired_rounds_are_refused():
    above, below = np.random.default_rng(4).random((2, 20)) + 1
    assert ratio_of_medians(above, below, seed=5) == ratio_of_medians(above, below, seed=5)
    with pytest.raises(ValueError, match="20 and 19"):
        ratio_of_medians(above, below[:-1])


def multi_label(clips: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(6)
    labels = (generator.random((clips, classes)) < 0.2).astype(np.uint8)
    labels[:, 3:4] = 0  # a class without positives
    scores = np.round(generator.random((clips, classes)) + 0.3 * labels, 1)  # many ties
    return labels, scores


def test_a_replicate_draws_as_many_clips_as_there_are():
    weights = clip_weights(50, seed=0, replicates=30)
    assert weights.shape == (30, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert (clip_weights(50, seed=0, replicates=30) == weights).all()


@pytest.mark.slow
def test_the_clip_bootstrap_agrees_with_scipys():
    labels, scores = multi_label(80, 3)
    (value,) = mean_average_precisions(labels, scores, np.ones((1, 80), int))
    mine = basic_interval(value, mean_average_precisions(labels, scores, clip_weights(80, seed=1, replicates=2000)))

    def metric(index: np.ndarray) -> float:
        index = index.astype(int)
        return np.mean([average_precision_score(labels[index, c], scores[index, c]) for c in range(3)])

    theirs = stats.bootstrap(
        (np.arange(80),),
        metric,
        vectorized=False,
        method="basic",
        n_resamples=300,
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert mine[0] == pytest.approx(theirs.low, abs=0.02)
    assert mine[1] == pytest.approx(theirs.high, abs=0.02)


def test_the_interval_of_the_precision_holds_the_truth_although_both_are_biased():
    """The percentile interval holds it in about 70 of 100 such samples: few positives, many classes."""
    generator = np.random.default_rng(8)
    prevalence, distance = generator.uniform(0.03, 0.12, 20), generator.uniform(0.5, 2.5, 20)

    def sample(clips: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (generator.random((clips, 20)) < prevalence).astype(np.uint8)
        return labels, generator.normal(size=(clips, 20)) + distance * labels

    (truth,) = mean_average_precisions(*sample(50_000), np.ones((1, 50_000), int))
    hits = 0
    for seed in range(40):
        labels, scores = sample(300)
        (value,) = mean_average_precisions(labels, scores, np.ones((1, 300), int))
        drawn = mean_average_precisions(labels, scores, clip_weights(300, seed=seed, replicates=100))
        low, high = basic_interval(value, drawn)
        hits += low <= truth <= high
    assert hits / 40 > 0.85
