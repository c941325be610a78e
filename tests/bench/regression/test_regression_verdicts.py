"""What the regression gate says of a value: worse fails, better is told, and noise is neither."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from bench.regression import baseline, proxies
from bench.regression.cases import CASES
from bench.regression.gates import (
    OTHER_MACHINE_TOLERANCE,
    RATIO_TOLERANCE,
    GateError,
    load_gates,
    proxy_gate,
    ratio_gate,
    to_toml,
)
from bench.regression.verdicts import Verdict, judge_proxy, judge_ratio, judge_time, settle
from fastast.statistics import Estimate


def test_a_ratio_fails_only_where_its_whole_interval_is_below():
    def judged(low: float, value: float, high: float) -> str:
        return judge_ratio("speedup", Estimate(value=value, low=low, high=high), 2.0, tolerance=0.1).state

    assert judged(1.5, 1.6, 1.79) == "worse"
    assert judged(1.0, 1.2, 1.81) == "unsure"
    assert judged(1.81, 1.9, 2.5) == "ok"
    assert judged(2.21, 2.5, 2.6) == "better"
    assert judged(2.1, 2.5, 2.6) == "ok"


def test_a_count_fails_above_its_gate_and_tells_below():
    def judged(name: str, value, gate, torch: str = "2") -> str:
        return judge_proxy(name, value, gate, made_with="2", torch=torch).state

    assert judged("launches", 10, 10) == "ok"
    assert judged("launches", 9, 10) == "better"
    assert judged("launches", 11, 10) == "worse"
    assert judged("launches", 11, 10, torch="3") == "not judged"  # another PyTorch runs other operators,
    assert judged("macs", 11, 10, torch="3") == "worse"  # but multiplies no more
    assert judged("tokens_per_block", [9, 8], [9, 9]) == "worse"


def times(candidate: float, reference: float, *, seed: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {"candidate": list(rng.normal(candidate, 0.01, 9)), "reference": list(rng.normal(reference, 0.01, 9))}


def test_a_time_fails_only_where_it_is_slower_beside_the_reference_arm_too():
    then = times(1.0, 2.0, seed=0)
    assert judge_time(times(1.0, 2.0, seed=1), then).state == "ok"
    assert judge_time(times(1.5, 2.0, seed=1), then).state == "worse"
    assert judge_time(times(1.2, 2.0, seed=1), then).state == "ok"  # a fifth is within the tolerance
    assert judge_time(times(0.5, 2.0, seed=1), then).state == "better"
    slow_machine = judge_time(times(3.0, 6.0, seed=1), then)
    assert slow_machine.state == "not judged"
    assert "the machine is slower now" in slow_machine.text


def said(*states: str) -> tuple[list[str], int]:
    """What is settled of a value whose measurements are these in turn, and how many were made."""
    asked = []

    def measure(before: int) -> dict[str, Verdict]:
        asked.append(before)
        return {"x": Verdict(state=states[before], text="x")}

    return [verdict.state for verdict in settle(measure)], len(asked)


def test_worse_must_be_measured_twice_and_once_not_worse_is_not_worse():
    assert said("ok") == (["ok"], 1)
    assert said("worse", "worse") == (["worse"], 2)
    assert said("worse", "ok") == (["ok"], 2)
    assert said("unsure", "worse", "worse") == (["worse"], 3)
    assert said("unsure", "unsure", "worse") == (["unsure"], 3)
    assert said("better") == (["better"], 1)


def test_a_machine_without_gates_is_judged_by_anothers_with_more_tolerance():
    gates = {"ratios": {"abacus": {"device": "cpu", "x": {"speedup": 2.0}}}}
    own, other = (ratio_gate(gates, machine, "cpu", "x") for machine in ("abacus", "slide-rule"))
    assert (own.ratios, own.tolerance, own.note) == ({"speedup": 2.0}, RATIO_TOLERANCE, "")
    assert (other.ratios, other.tolerance) == ({"speedup": 2.0}, OTHER_MACHINE_TOLERANCE)
    assert "has no ratios of slide-rule: those of abacus are used" in other.note
    with pytest.raises(GateError, match=r"no ratios of a machine with cuda; measure them with .* --device cuda"):
        ratio_gate(gates, "abacus-gpu", "cuda", "x")
    with pytest.raises(GateError, match=r"has no ratios.abacus.y"):
        ratio_gate(gates, "abacus", "cpu", "y")


def test_a_missing_gate_is_an_error_that_names_it(tmp_path):
    with pytest.raises(GateError, match=r"has no proxies.r7; count them with .* --only proxies"):
        proxy_gate({}, "r7")
    with pytest.raises(GateError, match=r"none.toml: cannot be read"):
        load_gates(tmp_path / "none.toml")


def test_every_case_and_count_has_a_committed_gate_that_its_writer_would_write_again():
    gates = load_gates()
    for machine, table in gates["ratios"].items():
        for case in CASES:
            assert set(ratio_gate(gates, machine, table["device"], str(case)).ratios) == {
                "speedup", "of_reference", *(["of_slice"] if case.r else [])
            }  # fmt: skip
    for r in proxies.REMOVALS:
        assert len(proxy_gate(gates, f"r{r}")) == 6
    assert tomllib.loads(to_toml(gates)) == gates


HERE = dict.fromkeys(baseline.IDENTITY, "same")


def save(folder, number: int, seconds: float, *, is_baseline: bool = True, **machine: str):
    path = folder / f"{number:04d}_baseline.json"
    extra = {"rounds": {"candidate": [seconds]}, "is_baseline": is_baseline}
    run = {"machine_info": HERE | machine, "benchmarks": [{"fullname": "t", "extra_info": extra}]}
    path.write_text(json.dumps(run))
    return path


def test_the_newest_baseline_of_this_machine_counts_and_runs_that_were_judged_by_it_do_not(tmp_path):
    assert baseline.choose(tmp_path, HERE) == ()
    save(tmp_path, 1, 1.0)
    save(tmp_path, 2, 2.0)
    save(tmp_path, 3, 3.0, is_baseline=False)
    save(tmp_path, 4, 4.0, threads="another")
    runs = baseline.choose(tmp_path, HERE)
    assert baseline.find_rounds(runs, "t") == {"candidate": [2.0]}
    assert baseline.find_rounds(runs, "new test") is None
    asked = baseline.choose(tmp_path, HERE, "0001")
    assert baseline.find_rounds(asked, "t") == {"candidate": [1.0]}
    with pytest.raises(ValueError, match=r"'0009' is neither a file nor the number of a baseline .* 0004_baseline"):
        baseline.choose(tmp_path, HERE, "0009")


@pytest.mark.parametrize("field", baseline.IDENTITY)
def test_a_baseline_of_another_machine_is_refused(tmp_path, field):
    path = save(tmp_path, 1, 1.0, **{field: "another"})
    with pytest.raises(ValueError, match=f"another machine: {field} is 'same' here and 'another' there"):
        baseline.choose(tmp_path, HERE, str(path))
    assert baseline.choose(tmp_path, HERE) == ()


def test_half_a_baseline_is_an_error_that_names_it(tmp_path):
    path = save(tmp_path, 1, 1.0)
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=r"0001_baseline.json: is not a complete run"):
        baseline.choose(tmp_path, HERE)
