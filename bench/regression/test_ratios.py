"""Speed: ratios of arms timed in the same rounds, and times compared with a baseline of the same machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.regression.cases import CASES, Case, Times, arms_of, ratios, steadiest
from bench.regression.gates import Gates, RatioGate, ratio_gate
from bench.regression.timing import candidate_stats, measure_times, time_interleaved
from bench.regression.verdicts import Verdict, judge_ratio, judge_time, settle


@pytest.mark.parametrize("case", CASES, ids=str)
def test_speed(
    case: Case,
    machine: dict[str, str],
    rounds: int | None,
    gates: Gates,
    then: dict[str, list[float]] | None,
    benchmark: BenchmarkFixture,
    judge: Callable[[list[Verdict]], None],
    note: Callable[[str], None],
) -> None:
    gate = ratio_gate(gates, machine["key"], machine["device"], str(case))
    note(gate.note)
    arms = arms_of(case, machine["device"])

    def measure(before: int) -> dict[str, Verdict]:
        if before:
            return judge_all(measure_times(arms, rounds or 2 * case.rounds, machine["device"]), gate, then)
        times = time_interleaved(benchmark, arms, rounds or case.rounds, machine["device"])
        benchmark.extra_info["clips_per_s"] = case.batch_size / candidate_stats(benchmark).median
        benchmark.extra_info["is_baseline"] = then is None
        benchmark.extra_info["rounds"] = {name: steadiest(times)[name] for name in ("candidate", "reference")}
        for clock, values in ratios(times).items():
            benchmark.extra_info[clock] = {name: [ratio.low, ratio.value, ratio.high] for name, ratio in values.items()}
        return judge_all(times, gate, then)

    judge(settle(measure))


def judge_all(times: Times, gate: RatioGate, then: dict[str, list[float]] | None) -> dict[str, Verdict]:
    """Judge every ratio that has a gate, by every clock. Raises KeyError for a ratio that was not measured."""
    verdicts = {
        f"{name} ({clock} time)": judge_ratio(f"{name} ({clock} time)", values[name], value, tolerance=gate.tolerance)
        for clock, values in ratios(times).items()
        for name, value in gate.ratios.items()
    }
    if then is not None:
        verdicts["time"] = judge_time(steadiest(times), then)
    return verdicts
