"""The regression gate, on builds that are really slower or faster, and what it refuses.

Its ratios are held against those of this build on this machine, so that no processor's own speed decides. Everywhere,
seconds are counted (`counted_clock`): what else the machine does must not decide either. On a quiet machine the same
tests run by the real clocks (`nox -s soak`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.regression import baseline
from bench.regression.cases import CASES

ROOT = Path(__file__).parents[3]
CASE = CASES[-1]
SPEED = f"bench/regression/test_ratios.py::test_speed[{CASE}]"
COUNTS = "bench/regression/test_proxies.py::test_counts[r0]"
pytestmark = pytest.mark.slow
Gate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=["counted", pytest.param("real", marks=[pytest.mark.soak, pytest.mark.alone])])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of the programs that the tests start, with the clocks that these go by."""
    counted = "yes" if request.param == "counted" else ""
    # What stands beside these tests is none of theirs: pytest-benchmark measures nothing where it sees xdist.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return own | {"COUNTED_CLOCK": counted, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/bench")])}


@pytest.fixture(scope="module")
def gates(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of what this build reaches here, written without the code under test in a slowed process."""
    path = tmp_path_factory.mktemp("gates") / "gates.toml"
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("reached.py")), str(path)], env=environment, check=True
    )
    return path


@pytest.fixture(scope="module")
def gate(gates: Path, environment: dict[str, str]) -> Gate:
    """Run the gate as people do; `build` names a change of `slowed_build`."""

    def run(*arguments: str, storage: Path, build: str | None = None) -> subprocess.CompletedProcess[str]:
        options = ["--regression-rounds=7", f"--regression-gates={gates}", f"--benchmark-storage={storage}"]
        options += ["-p", "counted_clock"] if environment["COUNTED_CLOCK"] else []
        options += ["-p", "slowed_build"] if build else []
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=ROOT,
            env=environment | {"SLOWED_BUILD": build or ""},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def unchanged(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The gate of this build, on a machine without a baseline."""
    storage = tmp_path_factory.mktemp("baselines")
    return gate(SPEED, COUNTS, storage=storage), storage


def test_this_build_passes_and_its_times_are_saved_as_the_first_of_the_machine(unchanged):
    done, storage = unchanged
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"absolute times of {CASE} are not judged: they are saved as the first baseline" in done.stdout
    (saved,) = storage.rglob("*.json")
    run = json.loads(saved.read_text())
    (timed,) = run["benchmarks"]
    assert timed["extra_info"]["clips_per_s"] == pytest.approx(1 / timed["stats"]["median"])
    assert len(timed["extra_info"]["rounds"]["candidate"]) == 7
    assert (run["machine_info"]["threads"], run["machine_info"]["torch"]) == (1, torch.__version__)
    assert set(run["machine_info"]) == set(baseline.IDENTITY)  # neither the host's name nor its clock


def test_redundant_attention_in_every_block_is_caught_by_ratios_counts_and_the_baseline(gate, unchanged):
    _, storage = unchanged
    done = gate(SPEED, COUNTS, storage=storage, build="attention")
    assert done.returncode == 1, done.stdout
    assert f"{CASE} is worse than its gate" in done.stdout
    assert "of_reference (cpu time)" in done.stdout
    assert "times the baseline's" in done.stdout
    assert "macs: counted and by formula" in done.stdout
    assert len(list(storage.rglob("*.json"))) == 1


def test_what_has_no_gate_was_not_judged_and_is_not_worse(gate, gates, tmp_path):
    absent = tmp_path / "none.toml"
    done = gate(COUNTS, f"--regression-gates={absent}", storage=tmp_path)
    assert done.returncode == 4, done.stdout
    assert f"{absent}: cannot be read" in done.stdout
    of_others = tmp_path / "others.toml"
    of_others.write_text(gates.read_text().replace("[proxies.r0", "[proxies.r1"))
    done = gate(COUNTS, f"--regression-gates={of_others}", storage=tmp_path)
    assert (done.returncode, "has no proxies.r0; count them with" in done.stdout) == (4, True), done.stdout
    done = gate(SPEED, COUNTS, f"--regression-gates={of_others}", storage=tmp_path, build="waiting")
    assert done.returncode == 1, done.stdout  # one is worse


def test_slower_merging_is_caught(gate, tmp_path):
    done = gate(SPEED, storage=tmp_path, build="matching")
    assert done.returncode == 1, done.stdout
    assert "speedup (cpu time)" in done.stdout
    assert "of_slice (cpu time)" in done.stdout
    assert "is not saved as a baseline" in done.stdout
    assert list(tmp_path.rglob("*.json")) == []


def test_waiting_is_caught_by_the_wall_clock(gate, tmp_path):
    done = gate(SPEED, storage=tmp_path, build="waiting")
    assert done.returncode == 1, done.stdout
    assert "of_reference (wall time)" in done.stdout


def test_a_faster_build_passes_and_is_told(gate, tmp_path):
    done = gate(SPEED, storage=tmp_path, build="faster")
    assert done.returncode == 0, done.stdout
    assert "of_reference (cpu time)" in done.stdout
    assert "is better than the gate of" in done.stdout


def test_a_baseline_of_another_machine_is_refused(gate, unchanged, tmp_path):
    _, storage = unchanged
    (saved,) = storage.rglob("*.json")
    run = json.loads(saved.read_text())
    run["machine_info"]["threads"] = "another"
    other = tmp_path / "0001_other.json"
    other.write_text(json.dumps(run))
    done = gate(SPEED, f"--benchmark-compare={other}", storage=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "the baseline is from another machine: threads is 1 here and 'another' there" in done.stderr
    assert "passed" not in done.stdout


def test_parallel_runs_are_refused(gate, tmp_path):
    pytest.importorskip("xdist")
    done = gate("bench/regression", "-n", "2", storage=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "times measured in parallel mean nothing" in done.stderr
