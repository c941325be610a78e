"""Gates let pass what is possible and stop what is not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.measure import gates
from bench.measure.conditions import Conditions, Moment, unknown_conditions
from fastast.statistics import Estimate


def bounds_by_enumeration(positives: int, negatives: int) -> dict[float, tuple[float, float]]:
    """Least and most average precision at every possible AUC, over all rankings."""
    n, found = positives + negatives, {}
    for places in itertools.combinations(range(n), positives):
        labels = np.isin(np.arange(n), places)
        scores = -np.arange(n, dtype=float)
        auc = round(float(roc_auc_score(labels, scores)), 9)
        ap = float(average_precision_score(labels, scores))
        low, high = found.get(auc, (math.inf, -math.inf))
        found[auc] = (min(low, ap), max(high, ap))
    return found


@pytest.mark.parametrize(("positives", "negatives"), [(1, 4), (2, 5), (3, 3), (4, 6)])
def test_no_ranking_leaves_the_bounds_which_are_close(positives, negatives):
    for auc, (low, high) in bounds_by_enumeration(positives, negatives).items():
        least, most = gates.precision_bounds(auc, positives, negatives)
        assert low - 0.12 < least <= low + 1e-6
        assert high - 1e-6 <= most < high + 0.07


@settings(max_examples=200)
@given(st.data())
def test_real_scores_with_ties_pass(data):
    n = data.draw(st.integers(2, 60))
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    levels = data.draw(st.integers(1, 200))  # few levels are many ties
    scores = np.array(data.draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    if not 0 < labels.sum() < n:
        return
    ap, auc = average_precision_score(labels, scores), roc_auc_score(labels, scores)
    gate = gates.precision_fits_area(np.array([ap]), np.array([auc]), labels[:, None], scores[:, None])
    assert gate.passed, gate.message


def scores_of_classes(rng, n=400, classes=6):
    labels = (rng.random((n, classes)) < rng.uniform(0.02, 0.3, classes)).astype(np.uint8)
    return labels, np.clip(labels * rng.uniform(0.05, 0.6, classes) + rng.random((n, classes)), 0, 2)


def metrics(labels, scores):
    ap = np.array([average_precision_score(*pair) for pair in zip(labels.T, scores.T, strict=True)])
    auc = np.array([roc_auc_score(*pair) for pair in zip(labels.T, scores.T, strict=True)])
    return ap, auc


def test_metrics_of_the_same_scores_agree_and_of_mixed_up_ones_do_not():
    labels, scores = scores_of_classes(np.random.default_rng(0))
    ap, auc = metrics(labels, scores)
    assert gates.precision_fits_area(ap, auc, labels, scores).passed
    for mixed_up in (1 - auc, auc[::-1], np.full_like(auc, 0.5)):
        gate = gates.precision_fits_area(ap, mixed_up, labels, scores)
        assert not gate.passed
        assert "average precision beyond the bounds of its AUC" in gate.message


def test_classes_without_positives_or_negatives_are_left_out():
    labels = np.array([[0, 1], [0, 1]], dtype=np.uint8)
    gate = gates.precision_fits_area(np.array([np.nan, 1.0]), np.array([np.nan, np.nan]), labels, labels)
    assert gate.passed
    assert gate.message == "no class has positives and negatives"


def test_a_nan_passes_no_gate():
    assert not gates.gate("x", math.nan, 1.0, "x").passed
    assert not gates.nothing_merged_is_unmerged(math.nan, "float32").passed


@pytest.mark.parametrize(("low", "passes"), [(1.9, True), (2.49, True), (2.51, False)])
def test_the_whole_interval_must_be_above_the_mac_bound_to_fail(low, passes):
    gate = gates.within_mac_bound(Estimate(value=3.0, low=low, high=4.0), 2.0, 0.25)
    assert gate.passed is passes
    assert (gate.value, gate.limit) == (low, 2.5)


@pytest.mark.parametrize(("low", "passes"), [(0.9, True), (1.09, True), (1.11, False)])
def test_no_method_is_faster_than_dropping_tokens(low, passes):
    assert gates.within_slice_bound(Estimate(value=1.2, low=low, high=1.3), 0.1).passed is passes


def test_tokens_and_macs_are_compared_exactly():
    assert gates.tokens_as_planned((5, 4), [5, 4]).passed
    failed = gates.tokens_as_planned((5, 4), (5, 5))
    assert not failed.passed
    assert "planned [5, 4], measured [5, 5]" in failed.message
    assert gates.macs_as_counted(10**12, 10**12).passed
    uncounted = gates.macs_as_counted(10**12, 10**12 + 1)
    assert not uncounted.passed
    assert "the macs= that a method is registered with" in uncounted.message


@pytest.mark.parametrize(("dtype", "difference", "passes"), [("float32", 1e-5, True), ("float32", 1e-3, False)])
def test_what_merges_nothing_must_give_the_unmerged_logits(dtype, difference, passes):
    assert gates.nothing_merged_is_unmerged(difference, dtype).passed is passes


def conditions(**changes) -> Conditions:
    moment = Moment(cpu_clock_mhz=None, cpu_quota_s=1.0, cpu_thermal_events=7, cpu_stolen_s=None, gpu=None)
    ends = {"before": moment, "after": moment.model_copy(update=changes.pop("after", {})), "seconds": 10.0}
    return unknown_conditions().model_copy(update=ends | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_throttle_reasons": 0x20}, "the GPU was slowed: software thermal slowdown"),
        ({"gpu_throttle_reasons": 0x80 | 0x4}, "the GPU was slowed: power cap, power brake"),
        ({"after": {"cpu_thermal_events": 9}}, "the CPU was slowed for its heat 2 times"),
        ({"after": {"cpu_quota_s": 1.2}}, "a CPU quota kept the container waiting for 0.20 of 10.00 s"),
    ],
)
def test_a_throttled_clock_is_seen(changes, message):
    gate = gates.clock_held(conditions(**changes))
    assert not gate.passed
    assert gate.message == message


@pytest.mark.parametrize(
    "changes",
    [{}, {"gpu_throttle_reasons": 0x1}, {"gpu_throttle_reasons": 0x4}, {"after": {"cpu_quota_s": 1.05}}],
)
def test_an_idle_clock_a_power_cap_and_a_blink_of_a_quota_are_no_throttling(changes):
    assert gates.clock_held(conditions(**changes)).passed


def test_unknown_conditions_accuse_nobody():
    assert gates.clock_held(unknown_conditions()).passed
