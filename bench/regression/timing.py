"""Interleaved timing of a case's arms, by pytest-benchmark or, for confirmation and for new gates, without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from bench.measure.timing import TimingRule, measure
from bench.regression.cases import TimedForward, Times, by_clock
from fastast.system.clocks import WallClock, rotated

WARMUP_ROUNDS = 2


def time_interleaved(
    benchmark: BenchmarkFixture, arms: dict[str, TimedForward], rounds: int, device: str = "cpu"
) -> Times:
    """Let pytest-benchmark time the candidate, and time the other arms before and after it in each of its rounds.

    The order rotates from round to round, so that no arm is always first or last.
    """
    clock, names, done = WallClock(), list(arms), 0
    seconds: dict[str, list[float]] = {name: [] for name in names if name != "candidate"}

    def order() -> tuple[list[str], list[str]]:
        turn = rotated(names, done)
        at = turn.index("candidate")
        return turn[:at], turn[at + 1 :]

    def before() -> None:
        for name in order()[0]:
            seconds[name] += clock.measure(arms[name], 1)

    def after() -> None:
        nonlocal done
        for name in order()[1]:
            seconds[name] += clock.measure(arms[name], 1)
        done += 1

    benchmark.pedantic(arms["candidate"], setup=before, teardown=after, rounds=rounds, warmup_rounds=WARMUP_ROUNDS)
    others = {name: values[WARMUP_ROUNDS:] for name, values in seconds.items()}
    return by_clock(arms, {"candidate": list(candidate_stats(benchmark).data)} | others, device)


def candidate_stats(benchmark: BenchmarkFixture) -> Any:
    """Return pytest-benchmark's statistics of the candidate."""
    assert benchmark.stats is not None
    return benchmark.stats.stats


def measure_times(arms: Mapping[str, TimedForward], rounds: int, device: str = "cpu") -> Times:
    """Time all arms in `rounds` interleaved rounds of one iteration each."""
    rule = TimingRule(
        rounds=rounds,
        min_seconds=0,
        max_seconds=120,
        round_seconds=0,
        warmup_window=1,
        warmup_iterations=3,
        noise_repeats=0,
    )
    # Every call ends once its result is computed, so one clock suits all devices.
    timing = measure(arms, rule, WallClock())
    return by_clock(arms, {name: arm.seconds for name, arm in timing.arms.items()}, device)
