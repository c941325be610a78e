"""Interleaved timing of a case's arms, for a confirmation and for new gate values."""

from __future__ import annotations

from collections.abc import Mapping

from bench.regression.cases import Arm, ratios
from bench.statistics import Estimate
from bench.timing import TimingRule, WallClock, measure


def measure_ratios(arms: Mapping[str, Arm], rounds: int, device: str = "cpu") -> dict[str, dict[str, Estimate]]:
    """Time all arms in `rounds` interleaved rounds of one iteration each and return their ratios by clock."""
    rule = TimingRule(
        rounds=rounds,
        min_seconds=0,
        max_seconds=120,
        round_seconds=0,
        warmup_window=1,
        warmup_iterations=3,
        noise_repeats=0,
    )
    # Every call ends when its result is there, so that one clock serves all devices.
    timing = measure(arms, rule, WallClock())
    return ratios(arms, {name: arm.seconds for name, arm in timing.arms.items()}, device)
