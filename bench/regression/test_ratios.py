"""Speed as ratios of arms that are timed in the same rounds of the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.regression.cases import CASES, Arm, Case, build_arms, ratios
from bench.regression.gates import Gates, Verdict, find_gate, judge_ratio
from bench.regression.timing import measure_ratios
from bench.statistics import Estimate
from bench.timing import WallClock

WARMUP_ROUNDS = 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_speed(
    case: Case,
    device: str,
    rounds: int | None,
    gates: Gates,
    benchmark: BenchmarkFixture,
    judge: Callable[[list[Verdict]], None],
) -> None:
    gate = find_gate(gates, "ratios", device, str(case))
    arms = build_arms(case, device)
    seconds = time_interleaved(benchmark, arms, rounds or case.rounds)
    measured = ratios(arms, seconds, device)
    benchmark.extra_info["clips_per_s"] = case.batch_size / candidate_stats(benchmark).median
    for clock, values in measured.items():
        benchmark.extra_info[clock] = {name: [ratio.low, ratio.value, ratio.high] for name, ratio in values.items()}
    verdicts = judge_all(measured, gate)
    if any(verdict.state == "worse" for verdict in verdicts):
        # Somebody else's load can fall on one arm: only what two measurements say is a failure.
        again = judge_all(measure_ratios(arms, rounds or 2 * case.rounds, device), gate)
        verdicts = [second if first.state == "worse" else first for first, second in zip(verdicts, again, strict=True)]
    judge(verdicts)


def candidate_stats(benchmark: BenchmarkFixture) -> Any:
    """Return what pytest-benchmark measured of the candidate."""
    assert benchmark.stats is not None
    return benchmark.stats.stats


def judge_all(measured: dict[str, dict[str, Estimate]], gate: dict[str, float]) -> list[Verdict]:
    """Judge every ratio that has a gate, by every clock; one without its measurement is a KeyError, not a pass."""
    return [
        judge_ratio(f"{name} ({clock} time)", values[name], value)
        for clock, values in measured.items()
        for name, value in gate.items()
    ]


def time_interleaved(benchmark: BenchmarkFixture, arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Let pytest-benchmark time the candidate; the other arms are timed in the set-up of each of its rounds."""
    clock, others = WallClock(), [name for name in arms if name != "candidate"]
    seconds: dict[str, list[float]] = {name: [] for name in others}

    def time_others() -> None:
        shift = len(seconds[others[0]]) % len(others)
        for name in others[shift:] + others[:shift]:
            seconds[name] += clock.measure(arms[name], 1)

    benchmark.pedantic(arms["candidate"], setup=time_others, rounds=rounds, warmup_rounds=WARMUP_ROUNDS)
    paired = {name: values[WARMUP_ROUNDS:] for name, values in seconds.items()}
    return paired | {"candidate": list(candidate_stats(benchmark).data)}
