"""Steps in limited time: one that fails ends no other, and one archive has records, logs, and how each ended."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench.cli import app
from bench.gpu.session import GRACE_S, archive_of, run_session
from bench.gpu.steps import ROOT, Step, gpu_steps, gpu_tests
from bench.profiling.select import select_cells
from bench.records.store import read_records
from bench.run.budget import Budget
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep

NAMES = ["tests", "headline", "profile", "training_step", "waveforms", "all_baselines"]


def step(name: str, code: str, share: float = 1.0, **options) -> Step:
    return Step(name=name, arguments=("-c", code), share=share, **options)


def unpacked(folder: Path) -> dict[str, str]:
    """Names and texts of what is in the archive of a folder; what is no text is not read."""
    with tarfile.open(archive_of(folder)) as archive:
        assert {(member.uid, member.gid, member.uname, member.gname) for member in archive} == {(0, 0, "", "")}
        files = [member for member in archive if member.isfile()]
        return {member.name: archive.extractfile(member).read().decode(errors="replace") for member in files}


def test_when_a_step_fails_the_others_run_and_the_archive_says_so(tmp_path):
    folder, home = tmp_path / "gpu", Path.home()
    records = folder / "results" / "machine"
    steps = [
        step("good", f"print('one'); print('{home}/secret'); print('two')"),
        step("bad", "print('half'); raise SystemExit(3)"),
        step("worse", "import os; os.kill(os.getpid(), 9)"),
        step("late", f"import pathlib; p = pathlib.Path({str(records)!r}); p.mkdir(parents=True); "
             "(p / 'cell.json').write_text('{}'); (p / '.lock').write_text('')"),
    ]  # fmt: skip
    said: list[str] = []
    ends = run_session(steps, folder, 10, say=said.append)
    assert [(end.name, end.status, end.exit_code, end.last) for end in ends] == [
        ("good", "ok", 0, "two"),
        ("bad", "failed", 3, "half"),
        ("worse", "failed", -9, ""),
        ("late", "ok", 0, ""),
    ]
    files = unpacked(folder)
    assert set(files) == {
        "gpu/session.json",
        "gpu/results/machine/cell.json",
        *(f"gpu/logs/{end.name}.log" for end in ends),
    }
    assert files["gpu/logs/good.log"] == "one\n~/secret\ntwo\n"
    session = json.loads(files["gpu/session.json"])
    assert [(one["name"], one["status"]) for one in session["steps"]] == [(end.name, end.status) for end in ends]
    assert (session["rehearsal"], session["minutes"]) == (False, 10)
    assert any(text.startswith("2/4 bad: failed (exit code 3) after ") for text in said)
    assert {path.name for path in tmp_path.iterdir()} == {"gpu", "gpu.tar.gz"}


class Clock:
    """Seconds that pass while a step runs, however long it really ran: `step` after every second look."""

    def __init__(self, step: float) -> None:
        self.time, self.step = 0.0, step

    def __call__(self) -> float:
        self.time, before = self.time + self.step, self.time
        return before


def test_each_step_gets_its_share_of_the_time_left_and_none_starts_without_time(tmp_path):
    said: list[str] = []
    steps = [step(name, "", share) for name, share in (("a", 1), ("b", 2), ("c", 1), ("d", 4))]
    ends = run_session(steps, tmp_path / "gpu", 5, say=said.append, now=Clock(80.0))
    # Of 300 s there are left 220 for shares of 8, 140 for 7, 60 for 5, 0 for 4.
    limits = [text.partition("at most ")[2] for text in said if "at most" in text]
    assert limits == ["28 s", "40 s"]
    assert [end.status for end in ends] == ["ok", "ok", "left", "left"]
    assert [text for text in said if "left" in text] == [
        f"{i}/4 {name}: left out, as there is no time for it" for i, name in ((3, "c"), (4, "d"))
    ]


def test_a_step_that_limits_itself_is_told_how_long(tmp_path):
    (end,) = run_session(
        [step("a", "import sys; print(sys.argv[1:])", limits_itself=True)], tmp_path / "gpu", 2, now=lambda: 0.0
    )
    assert end.last == f"['--minutes', '{110 / 60:.3f}']"


def test_a_step_that_overruns_is_ended_and_the_next_one_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.gpu.session.LEAST_S", 0.0)
    monkeypatch.setattr("bench.gpu.session.LAST_WORDS_S", 1.0)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    steps = [step("stuck", deaf, 0.5), step("next", "print('here')")]
    began = time.monotonic()
    ends = run_session(steps, tmp_path / "gpu", 0.15, now=lambda: 0.0)  # 3 s and 9 s
    assert time.monotonic() - began < 30
    assert [(end.status, end.last) for end in ends] == [("timeout", "on"), ("ok", "here")]
    assert '"status": "timeout"' in unpacked(tmp_path / "gpu")["gpu/session.json"]


@pytest.mark.slow
def test_tests_that_overrun_say_what_failed_before(tmp_path):
    (tmp_path / "test_slowly.py").write_text(
        "import time\n"
        "def test_wrong():\n    assert False, 'what nobody may miss'\n"
        "def test_stuck():\n    time.sleep(300)\n"
    )
    arguments = ("-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "-n", "1", str(tmp_path))
    overruns = Step(name="tests", share=1, arguments=arguments)
    (end,) = run_session([overruns], tmp_path / "gpu", 0.75, now=lambda: 0.0)  # 45 s: a busy machine starts slowly
    assert end.status == "timeout"
    assert "what nobody may miss" in unpacked(tmp_path / "gpu")["gpu/logs/tests.log"]
    assert end.last.startswith("1 failed in ")


def test_a_session_that_is_ended_leaves_its_archive_and_no_process(tmp_path):
    code = (
        "from pathlib import Path; from bench.gpu.session import run_session; from bench.gpu.steps import Step\n"
        "from bench.run.driver import end_on_sigterm\n"
        "wait = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "codes = {'a': 'print(1)', 'b': wait}\n"
        "steps = [Step(name=name, share=1, arguments=('-c', code)) for name, code in codes.items()]\n"
        f"with end_on_sigterm(): run_session(steps, Path({str(tmp_path / 'gpu')!r}), 10)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    log = tmp_path / "gpu" / "logs" / "b.log"
    deadline = time.monotonic() + 200
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)
    files = unpacked(tmp_path / "gpu")
    assert [one["status"] for one in json.loads(files["gpu/session.json"])["steps"]] == ["ok", "left"]
    assert set(files) == {"gpu/session.json", "gpu/logs/a.log", "gpu/logs/b.log"}


def test_minutes_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--minutes 0: give a number above 0"):
        run_session([], tmp_path / "gpu", 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["gpu"])
    assert shown.exit_code == 1
    assert "'cuda' is not here" in shown.output
    assert list(tmp_path.iterdir()) == []


def settings(arguments: tuple[str, ...]) -> list[str]:
    return [value for option, value in itertools.pairwise(arguments) if option == "-s"]


def cells_of(step: Step):
    sweep = step.arguments[step.arguments.index("bench") + 2]
    return expand(load_sweep(find_sweep(sweep), settings(step.arguments)), sweep, lambda device: "cuda")


def test_the_steps_ask_for_cells_of_the_committed_sweeps_in_the_order_of_what_they_tell(tmp_path):
    steps = {one.name: one for one in gpu_steps(tmp_path)}
    assert list(steps) == NAMES
    committed = {
        name: [cell.id for cell in expand(load_sweep(find_sweep(name)), name, lambda device: "cuda")]
        for name in ("engine_gpu_first", "engine_gpu", "engine_gpu_training", "engine_gpu_waveform")
    }
    asked = {name: cells_of(steps[name]) for name in NAMES[1:]}
    assert [cell.id for cell in asked["headline"]] == committed["engine_gpu_first"]
    assert [cell.id for cell in asked["training_step"]] == committed["engine_gpu_training"]
    assert [cell.id for cell in asked["waveforms"]] == committed["engine_gpu_waveform"]
    assert [cell.id for cell in asked["all_baselines"]][:2] == committed["engine_gpu"][:2]
    points = [(c.batch_size, c.reduction.schedule.r if c.reduction else 0) for c in asked["headline"]]
    assert points[:3] == [(64, 40), (64, 80), (1, 40)]  # the order of [[priority]]
    assert sorted(points) == [(batch, r) for batch in (1, 64) for r in (0, 40, 80)]
    (profiled,) = select_cells(asked["profile"], None, r=40, schedule=None)
    assert profiled.id == asked["headline"][0].id


def test_what_is_compiled_first_waits_until_there_are_records(tmp_path):
    """A cell that runs out of time leaves none, and compiling a baseline takes up to minutes."""
    slow = {"timm_compiled", "flex_bias"}
    for one in gpu_steps(tmp_path)[1:]:
        measure = [cell.question["measure"] for cell in cells_of(one)]
        arms = {name for part in measure for name in (*part["baselines"], *part.get("where_installed", ()))}
        assert bool(arms & slow) == (one.name == "all_baselines")


def test_in_ten_minutes_every_step_has_time_for_a_cell_though_all_before_it_took_theirs(tmp_path):
    """But for the last one, which has what the others leave. Commands take up to 15 s to load PyTorch."""
    steps = gpu_steps(tmp_path)
    whole = sum(one.share for one in steps)
    for one in steps:
        if one.limits_itself and one.name != "all_baselines":
            minutes = (600 * one.share / whole - GRACE_S) / 60
            budget = Budget(minutes, lambda: 0.0, used=15.0)
            first = cells_of(one)[0]
            assert budget.allows(first), f"{one.name}: {budget.expected(first):.0f} of {budget.left():.0f} s"


def test_every_command_is_one_that_there_is(tmp_path):
    for rehearse in (False, True):
        for one in gpu_steps(tmp_path, rehearse=rehearse):
            if one.arguments[1] == "bench":
                shown = CliRunner().invoke(app, [*one.arguments[2:], "--help"])
                assert shown.exit_code == 0, shown.output
    (tests, *_) = gpu_steps(tmp_path)
    assert all((ROOT / path).exists() for path in gpu_tests())
    assert "tests/fastast/engine/test_graphs.py" in tests.arguments


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_test_that_needs_a_gpu_is_left_out():
    """Against what pytest finds in all files, which takes too long for every process of the step."""

    def found(*paths: str) -> set[str]:
        command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "gpu", *paths]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return {line for line in done.stdout.splitlines() if "::" in line}

    everything = found("tests")
    assert len(everything) > 400
    assert found(*gpu_tests()) == everything


def test_a_rehearsal_asks_for_one_small_cell_in_every_step(tmp_path):
    for one in gpu_steps(tmp_path, rehearse=True)[1:]:
        sweep = one.arguments[one.arguments.index("bench") + 2]
        (cell,) = expand(load_sweep(find_sweep(sweep), settings(one.arguments)), sweep)
        assert (cell.device, cell.model.frames, cell.batch_size) == ("cpu", 64, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rehearsal_measures_every_step(tmp_path):
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```console\n(.*)\n```", page)
    program, *arguments, out = shlex.split(text)
    assert (program, arguments[-1]) == ("python", "--out")
    command = [sys.executable, *arguments, str(tmp_path / Path(out).name)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / Path(out).name
    files = unpacked(folder)
    session = json.loads(files[f"{folder.name}/session.json"])
    assert session["rehearsal"] is True
    assert [(one["name"], one["status"]) for one in session["steps"]] == [(name, "ok") for name in NAMES]
    records = read_records(folder / "results")
    sweeps = ["engine_gpu", "engine_gpu_first", "engine_gpu_training", "engine_gpu_waveform"]
    assert sorted(record.sweep for record in records) == sweeps
    assert {record.engine.path for record in records} == {"plain"}
    assert any(name.endswith("/summary.csv") for name in files)
