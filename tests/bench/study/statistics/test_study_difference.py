"""The interval of a difference of trainings, against scipy's tests where clips leave nothing to chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from bench.study.frame import frame
from bench.study.speeds import Speeds
from bench.study.statistics.difference import difference
from bench.study.study_file import load_study

MINE = np.array([0.468, 0.471, 0.463])
THEIRS = np.array([0.460, 0.458, 0.461])
NO_CLIPS = np.zeros(1000)
"""Replicates that are all alike: only seeds are chance."""


def test_the_same_seeds_are_paired_as_in_students_test() -> None:
    found = difference(MINE, THEIRS, NO_CLIPS, paired=True)
    interval = ttest_rel(MINE, THEIRS).confidence_interval(0.95)
    assert found == pytest.approx(((MINE - THEIRS).mean(), interval.low, interval.high))


@pytest.mark.parametrize(("mine", "theirs"), [(MINE, THEIRS[:2]), (MINE, THEIRS[:1]), (MINE[1:2], THEIRS)])
def test_other_seeds_are_two_samples_that_vary_alike(mine: np.ndarray, theirs: np.ndarray) -> None:
    found = difference(mine, theirs, NO_CLIPS, paired=False)
    # Welch's test knows nothing of a sample of one; the pooled one does.
    interval = ttest_ind(mine, theirs, equal_var=True).confidence_interval(0.95)
    assert found == pytest.approx((mine.mean() - theirs.mean(), interval.low, interval.high))


@pytest.mark.parametrize("paired", [True, False])
def test_one_seed_on_each_side_leaves_the_clips(paired: bool) -> None:
    replicates = np.random.default_rng(0).normal(0.008, 0.003, 1000)
    mean, low, high = difference(MINE[:1], THEIRS[:1], replicates, paired=paired)
    assert mean == pytest.approx(0.008)
    assert high - low == pytest.approx(2 * 1.959964 * replicates.std(ddof=1))


def test_seeds_and_clips_add_up_and_cover_what_they_should() -> None:
    """Of many studies with a known difference, 95 % of intervals hold it: three seeds against one, seeds and clips."""
    draw = np.random.default_rng(1)
    truth, of_seed, of_clips, held, studies = 0.005, 0.003, 0.003, 0, 2000
    noise = draw.normal(0, of_clips, 1000)
    noise *= of_clips / noise.std(ddof=1)
    for _ in range(studies):
        clips = draw.normal(0, of_clips)
        mine = truth + clips + draw.normal(0, of_seed, 3)
        theirs = draw.normal(0, of_seed, 1)
        _, low, high = difference(mine, theirs, noise, paired=False)
        held += low <= truth <= high
    assert 0.93 <= held / studies <= 0.98


def test_the_interval_of_three_seeds_by_hand() -> None:
    # Student's t of two degrees of freedom is 4.3027; the deviation of 0.01, 0.02, 0.03 is 0.01.
    mean, low, high = difference(np.array([0.51, 0.52, 0.53]), np.full(3, 0.5), np.full(50, 0.02), paired=True)
    assert (mean, low, high) == pytest.approx(
        (0.02, 0.02 - 4.3027 * 0.01 / 3**0.5, 0.02 + 4.3027 * 0.01 / 3**0.5), abs=1e-5
    )


def test_few_seeds_do_not_widen_what_the_clips_tell() -> None:
    """Seeds that all but agree leave the interval of the clips, which is the normal one: 1.96 deviations."""
    replicates = np.random.default_rng(0).normal(0, 0.003, 1000)
    _, low, high = difference(np.array([0.51, 0.5101]), np.full(2, 0.5), replicates, paired=True)
    assert (high - low) / 2 == pytest.approx(1.96 * replicates.std(ddof=1), rel=0.01)


def test_the_interval_covers_what_it_promises() -> None:
    """Differences with chance of seeds and of clips: the truth lies inside at least as often as is said."""
    random = np.random.default_rng(0)
    hits, of_seeds, of_clips, truth = 0, 0.004, 0.003, 0.01
    for _ in range(1000):
        clips = random.normal(0, of_clips)
        mine = truth + clips + random.normal(0, of_seeds, 3)
        replicates = mine.mean() + random.normal(0, of_clips, 200)
        _, low, high = difference(mine, np.zeros(3), replicates, paired=True)
        hits += low <= truth <= high
    assert hits >= 940


def test_untrained_weights_of_one_seed_count_once_however_many_they_stand_beside() -> None:
    study = load_study("soundscapes_taught")
    rows = frame(study, Path(__file__).parents[4] / "results" / "studies", Speeds())
    held = rows[(rows["group"] == "contrast") & (rows["against"] == study.arm("shipped").label)]
    assert study.arm("shipped").untrained
    assert set(held["against_seeds"]) == {1}
    assert list(held["delta_seeds"]) == list(held["seeds"])
    assert held["seeds"].max() > 1


def test_weights_that_were_not_trained_took_no_memory_in_training() -> None:
    study = load_study("soundscapes_taught")
    rows = frame(study, Path(__file__).parents[4] / "results" / "studies", Speeds())
    untrained = {arm.name for arm in study.arms if arm.untrained}
    assert {"shipped", "tome_cmkd_half", "teacher"} <= untrained
    memory = rows.set_index("arm")["peak_memory_mib"]
    assert memory[memory.index.isin(untrained)].isna().all()
    assert memory[~memory.index.isin(untrained)].notna().all()
