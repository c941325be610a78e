"""The regression gate, on builds that are really slower or faster, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.regression import baseline, proxies
from bench.regression.cases import CASES, build_arms, build_model, random_input, reference
from bench.regression.gates import GateError, find_gate, judge_proxy, judge_ratio, load_gates, to_toml
from bench.regression.proxies import ForwardCounter
from bench.statistics import Estimate

ROOT = Path(__file__).parents[2]
SPEED = "bench/regression/test_ratios.py::test_speed[r20-batch1-256frames]"
COUNTS = "bench/regression/test_proxies.py::test_counts[r20]"


def gate(*arguments: str, storage: Path, build: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the gate as people do; `build` names a change of `slowed_build`."""
    environment = dict(os.environ, SLOWED_BUILD=build or "", PYTHONPATH=str(Path(__file__).parent))
    options = [*(["-p", "slowed_build"] if build else []), "--regression-rounds=9", f"--benchmark-storage={storage}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The gate of this build, on a machine without a baseline."""
    storage = tmp_path_factory.mktemp("baselines")
    return gate(SPEED, COUNTS, storage=storage), storage


def test_this_build_passes_and_its_times_are_saved_as_the_first_of_the_machine(unchanged):
    done, storage = unchanged
    assert done.returncode == 0, done.stdout + done.stderr
    assert "absolute times are not judged; if this run passes, it is saved as the first one" in done.stdout
    (saved,) = storage.rglob("*.json")
    run = json.loads(saved.read_text())
    (timed,) = run["benchmarks"]
    assert timed["extra_info"]["clips_per_s"] == pytest.approx(1 / timed["stats"]["median"])
    assert (
        {"speedup", "of_slice", "of_reference"} == set(timed["extra_info"]["cpu"]) == set(timed["extra_info"]["wall"])
    )
    assert (run["machine_info"]["threads"], run["machine_info"]["torch"]) == (1, torch.__version__)
    assert set(run["machine_info"]) == set(baseline.IDENTITY)  # neither the host's name nor its clock


def test_a_redundant_attention_pass_in_every_block_is_caught_by_ratios_counts_and_the_baseline(unchanged):
    _, storage = unchanged
    done = gate(SPEED, COUNTS, storage=storage, build="attention")
    assert done.returncode != 0
    assert "r20-batch1-256frames is worse than its gate" in done.stdout
    assert "of_reference (cpu time)" in done.stdout
    assert "macs: counted and by formula" in done.stdout
    assert "Performance has regressed" in done.stderr + done.stdout
    assert len(list(storage.rglob("*.json"))) == 1


def test_a_slower_matching_is_caught(tmp_path):
    done = gate(SPEED, storage=tmp_path, build="matching")
    assert done.returncode == 1
    assert "speedup (cpu time)" in done.stdout
    assert "of_slice (cpu time)" in done.stdout
    assert "is not saved as a baseline" in done.stdout
    assert list(tmp_path.rglob("*.json")) == []


def test_waiting_is_caught_by_the_wall_clock(tmp_path):
    done = gate(SPEED, storage=tmp_path, build="waiting")
    assert done.returncode == 1
    assert "of_reference (wall time)" in done.stdout
    assert "(cpu time)" not in done.stdout.partition("worse than its gate")[2].partition("short test summary")[0]


def test_a_faster_build_passes_and_is_told(unchanged, tmp_path):
    done = gate(SPEED, storage=tmp_path, build="faster")
    assert done.returncode == 0, done.stdout
    assert "of_reference (cpu time)" in done.stdout
    assert "is better than the gate of" in done.stdout


@pytest.mark.parametrize("field", ["threads", "torch", "key"])
def test_a_baseline_of_another_machine_is_refused(unchanged, tmp_path, field):
    _, storage = unchanged
    (saved,) = storage.rglob("*.json")
    run = json.loads(saved.read_text())
    run["machine_info"][field] = "another"
    other = tmp_path / "0001_other.json"
    other.write_text(json.dumps(run))
    if field != "threads":  # one whole run is enough, the rest is the function that it calls
        here = json.loads(saved.read_text())["machine_info"]
        assert baseline.differences(here, run["machine_info"]) == [
            f"{field} is {here[field]!r} here and 'another' there"
        ]
        return
    done = gate(SPEED, f"--benchmark-compare={other}", storage=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "the baseline is of another machine: threads is 1 here and 'another' there" in done.stderr
    assert "passed" not in done.stdout


def test_parallel_runs_are_refused(tmp_path):
    pytest.importorskip("xdist")
    done = gate("bench/regression", "-n", "2", storage=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "times measured in parallel mean nothing" in done.stderr


def test_a_ratio_fails_only_where_its_whole_interval_is_below():
    def judged(low: float, value: float, high: float) -> str:
        return judge_ratio("speedup", Estimate(value=value, low=low, high=high), 2.0, tolerance=0.1).state

    assert judged(1.5, 1.6, 1.79) == "worse"
    assert judged(1.0, 1.2, 1.81) == "ok"
    assert judged(2.21, 2.5, 2.6) == "better"
    assert judged(2.1, 2.5, 2.6) == "ok"


def test_a_count_fails_above_its_gate_and_tells_below():
    assert judge_proxy("launches", 10, 10, made_with="2").state == "ok"
    assert judge_proxy("launches", 9, 10, made_with="2").state == "better"
    worse = judge_proxy("launches", 11, 10, made_with="0.1")
    assert worse.state == "worse"
    assert "The gate is of PyTorch 0.1" in worse.text
    assert judge_proxy("tokens_per_block", [9, 8], [9, 9], made_with="2").state == "worse"


def test_a_missing_gate_is_an_error_that_names_it(tmp_path):
    with pytest.raises(GateError, match=r"has no ratios.cuda.r0-batch1; measure it with .* --device cuda"):
        find_gate({"ratios": {"cpu": {}}}, "ratios", "cuda", "r0-batch1")
    with pytest.raises(GateError, match=r"none.toml: cannot be read"):
        load_gates(tmp_path / "none.toml")


def test_every_case_and_count_has_a_committed_gate_that_its_writer_would_write_again():
    gates = load_gates()
    for case in CASES:
        assert set(find_gate(gates, "ratios", "cpu", str(case))) == {
            "speedup", "of_reference", *(["of_slice"] if case.r else [])
        }  # fmt: skip
    for r in proxies.REMOVALS:
        assert len(find_gate(gates, "proxies", f"r{r}")) == 6
    assert tomllib.loads(to_toml(gates)) == gates


def test_the_counter_sees_operators_and_the_most_bytes_at_once():
    x, w = torch.ones(8, 4), torch.ones(4, 4)
    with torch.no_grad(), ForwardCounter() as counter:
        y = x @ w  # 128 bytes
        z = y + 1  # 128 more
        del y
        z.view(4, 8)  # a view computes and holds nothing
        z.add_(1)
        torch.cat([z, z])  # 256 bytes beside the 128 of z
    assert (counter.operators, counter.launches, counter.peak_bytes) == (5, 4, 384)


def test_the_counter_counts_a_graph_break(monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, x):
            x = x + 1
            torch._dynamo.graph_break()
            return x * 2

    monkeypatch.setattr(proxies, "_candidate", lambda *arguments, **options: Broken())
    assert proxies.count_graphs(0) == 2


def test_the_reference_computes_the_unmerged_model():
    model = build_model(depth=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        fbank = random_input(model, 2)
        torch.testing.assert_close(reference(model, fbank), model(fbank))


def test_arms_share_weights_and_rounds_are_paired():
    arms = build_arms(CASES[-1])
    assert list(arms) == ["candidate", "unmerged", "reference", "slice"]
    for arm in arms.values():
        arm()
    assert all(len(arm.cpu_seconds) == 1 and arm.cpu_seconds[0] > 0 for arm in arms.values())
    from bench.regression.cases import paired_ratio

    # Rounds that are slow by chance are slow on both sides.
    drift = np.array([1.0, 5.0, 2.0, 9.0, 3.0])
    ratio = paired_ratio(list(3 * drift), list(2 * drift))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
