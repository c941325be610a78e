"""Fronts of methods, against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.ablation.evidence import Configuration, Evidence
from bench.ablation.fronts import by_macs, estimate, estimate_gain, front_of, minus

REPLICATES = 400


def spread(value: float, by: float, seed: int = 0) -> Evidence:
    return Evidence(value=value, replicates=value + by * np.random.default_rng(seed).standard_normal(REPLICATES))


def point(speedup: float, quality: float, *, noise: float = 0.0, macs: float = 2.0) -> Configuration:
    return Configuration(
        reduction={"method": "x", "speedup": speedup},
        quality=spread(quality, noise, seed=7),  # the same clips: all move together
        speedup=spread(speedup, noise, seed=int(speedup * 100)),
        throughput=10 * speedup,
        macs_ratio=macs,
    )


UNMERGED = Configuration(reduction=None, quality=spread(0.5, 0.0), speedup=None, throughput=10.0, macs_ratio=1.0)


def test_quality_is_straight_between_points() -> None:
    front = front_of([point(2.0, 0.48), point(3.0, 0.40)], UNMERGED)
    assert front is not None
    for gain, expected in [(1.0, 0.5), (1.5, 0.49), (2.0, 0.48), (2.25, 0.46), (3.0, 0.40)]:
        found = front.at(gain)
        assert found is not None
        assert found.value == pytest.approx(expected)
    assert front.at(3.01) is None
    assert front.at(0.9) is None


def test_a_point_that_another_beats_is_not_on_the_front() -> None:
    front = front_of([point(2.0, 0.48), point(1.9, 0.30), point(3.0, 0.40)], UNMERGED)
    assert front is not None
    assert front.gain.tolist() == [1.0, 2.0, 3.0]


def test_a_method_that_is_slower_than_none_has_no_front() -> None:
    assert front_of([point(0.9, 0.49)], UNMERGED) is None


def test_the_gain_at_a_loss_is_where_the_line_crosses_it() -> None:
    front = front_of([point(2.0, 0.48), point(3.0, 0.40)], UNMERGED)
    assert front is not None
    for loss, expected in [(0.005, 1.25), (0.02, 2.0), (0.06, 2.5)]:
        found = front.within(loss)
        assert found is not None
        assert found.value == pytest.approx(expected)
    assert front.within(0.1) is None  # all of it loses less


def test_the_area_is_the_mean_over_gains() -> None:
    front = front_of([point(2.0, 0.48), point(3.0, 0.40)], UNMERGED)
    assert front is not None
    found = front.area(2.5)
    assert found is not None
    by_hand = (0.5 * (0.5 + 0.48) * 1.0 + 0.5 * (0.48 + 0.44) * 0.5) / 1.5
    assert found.value == pytest.approx(by_hand)
    assert front.area(3.5) is None


def test_macs_have_no_noise_and_give_another_order() -> None:
    mine, theirs = point(2.0, 0.48, macs=1.5), point(1.5, 0.48, macs=2.5)
    fast, lean = (front_of([one], UNMERGED) for one in (mine, theirs))
    fast_macs, lean_macs = (front_of([one], UNMERGED, by_macs) for one in (mine, theirs))
    assert fast is not None and lean is not None and fast_macs is not None and lean_macs is not None  # noqa: PT018
    assert fast.at(1.4).value > lean.at(1.4).value  # type: ignore[union-attr]
    assert fast_macs.at(1.4).value < lean_macs.at(1.4).value  # type: ignore[union-attr]


def test_what_clips_have_in_common_does_not_blur_a_difference() -> None:
    one, other = (front_of([point(2.0, quality, noise=0.02)], UNMERGED) for quality in (0.48, 0.47))
    assert one is not None and other is not None  # noqa: PT018
    mine, theirs = one.at(1.8), other.at(1.8)
    assert mine is not None and theirs is not None  # noqa: PT018
    alone, paired = estimate(mine), estimate(minus(mine, theirs))
    assert alone.high - alone.low > 3 * (paired.high - paired.low)
    assert paired.value == pytest.approx(0.8 * 0.01)


def test_the_interval_of_a_gain_holds_it() -> None:
    front = front_of([point(2.0, 0.48, noise=0.02)], UNMERGED)
    assert front is not None
    found = front.within(0.01)
    assert found is not None
    interval = estimate_gain(found)
    assert interval.value == pytest.approx(1.5)
    assert interval.low < 1.5 < interval.high
    assert interval.low >= 1


def test_a_gain_that_no_point_tells_is_known_from_one_side() -> None:
    front = front_of([point(2.0, 0.48), point(3.0, 0.40)], UNMERGED)
    assert front is not None
    least, most = front.bounds_within(0.1)  # all of it loses less
    assert least.value == 3.0
    assert most.value > 1e6
    least, most = front.bounds_within(0.06)
    assert least.value == most.value == pytest.approx(2.5)


def test_a_replicate_that_loses_less_everywhere_counts_as_far_as_it_was_measured() -> None:
    noisy = front_of([point(2.0, 0.48, noise=0.02)], UNMERGED)
    assert noisy is not None
    least, most = noisy.bounds_within(0.019)  # of about half of the replicates
    assert least.value == most.value < 2
    beyond = most.replicates > 1e6
    assert 0.1 < beyond.mean() < 0.9
    np.testing.assert_array_equal(least.replicates[beyond], noisy.gain_replicates[beyond, -1])
    np.testing.assert_array_equal(least.replicates[~beyond], most.replicates[~beyond])


def test_a_front_that_does_not_begin_at_the_unmerged_model_has_nothing_before_its_first_point() -> None:
    front = front_of([point(2.0, 0.48), point(3.0, 0.40)], UNMERGED, anchored=False)
    assert front is not None
    assert (front.least, front.most) == (2.0, 3.0)
    assert front.at(1.9) is None
    for gain, expected in [(2.0, 0.48), (2.25, 0.46)]:
        found = front.at(gain)
        assert found is not None
        assert found.value == pytest.approx(expected)
    assert front.area(2.5) is None
    for loss, expected in [(0.01, 1.0), (0.06, 2.5)]:  # what loses 0.01 at most is the unmerged model alone
        found = front.within(loss)
        assert found is not None
        assert found.value == pytest.approx(expected)


def test_losses_of_a_replicate_are_over_the_unmerged_model_wherever_its_points_are_sorted() -> None:
    slower = Evidence(value=1.01, replicates=np.full(REPLICATES, 0.99))
    one = replace(point(1.01, 0.48), speedup=slower)
    front = front_of([one, point(2.0, 0.46)], UNMERGED)
    assert front is not None
    least, most = front.bounds_within(0.03)  # from 0.5 at gain 1 to 0.46 at gain 2
    np.testing.assert_allclose(least.replicates, 1 + 0.03 / 0.04)
    np.testing.assert_allclose(most.replicates, 1 + 0.03 / 0.04)
