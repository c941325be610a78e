"""Runs that go wrong: crashes, hangs, kills, bad records. Nothing measured is lost, nothing is measured twice."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cheap_runners
import psutil
import pytest

from bench.records.schema import SCHEMA_VERSION
from bench.records.store import RecordError, read_record, read_records
from bench.run.driver import Options, run_sweep
from bench.run.isolation import Outcome, scrub
from bench.run.launchers import Ended, RunError
from bench.run.progress import Progress

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]


def records_by_model(results: Path) -> dict[str, object]:
    return {record.cell.question["model"]["name"]: record for record in read_records(results)}


def test_every_failure_is_a_record_and_the_sweep_goes_on(tmp_path):
    cells = [
        cheap_runners.cell("raise"),
        cheap_runners.cell("memory"),
        cheap_runners.cell("cuda_memory"),
        cheap_runners.cell("killed"),
        cheap_runners.cell("exit"),
        cheap_runners.cell("sleep:60", time_limit_s=0.5),
        cheap_runners.cell("noisy"),
        cheap_runners.cell("implausible"),
        cheap_runners.cell("fine"),
    ]
    stream = io.StringIO()
    summary = cheap_runners.run(cells, tmp_path, stream)
    records = records_by_model(tmp_path)
    assert {name: record.status for name, record in records.items()} == {
        "raise": "error",
        "memory": "oom",
        "cuda_memory": "oom",
        "killed": "error",
        "exit": "error",
        "sleep:60": "timeout",
        "noisy": "noisy",
        "implausible": "implausible",
        "fine": "ok",
    }
    assert summary.measured == {"error": 3, "oom": 2, "timeout": 1, "noisy": 1, "implausible": 1, "ok": 1}
    assert not summary.before
    assert "ValueError: no luck" in records["raise"].message
    assert "tests/bench/cheap_runners.py:" in records["raise"].message
    assert str(Path.home()) not in records["raise"].message
    assert "SIGKILL" in records["killed"].message
    assert "exit code 7" in records["exit"].message
    assert "0.5 s" in records["sleep:60"].message
    assert "50.0% is above the limit of 10.0%" in records["noisy"].message
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("[")]
    assert len(lines) == 9
    assert lines[-1].startswith("[9/9] ok")
    assert "1.50x" in lines[-1]


def test_a_gate_that_does_not_pass_fails_the_record_and_keeps_its_samples(tmp_path):
    stream = io.StringIO()
    cells = [cheap_runners.cell("implausible")]
    cheap_runners.run(cells, tmp_path, stream)
    record = read_record(next(tmp_path.rglob("*.json")))
    assert record.message == "mac_bound: ratio: 9, MORE THAN 2"
    assert [gate.passed for gate in record.gates] == [True, False]
    assert record.performance.arms["candidate"].seconds == (2.0, 2.0, 2.0)
    assert "implausible" in stream.getvalue()
    assert record.message in stream.getvalue()
    assert cheap_runners.run(cells, tmp_path, stream).before == {"implausible": 1}
    assert cheap_runners.run(cells, tmp_path, stream, retry_failed=True).measured == {"implausible": 1}


def test_a_rerun_that_leaves_failures_alone_has_failed_too(tmp_path):
    cells = [cheap_runners.cell("fine"), cheap_runners.cell("raise")]
    first = cheap_runners.run(cells, tmp_path, io.StringIO())
    second = cheap_runners.run(cells, tmp_path, io.StringIO())
    assert (first.failed, second.failed) == (True, True)
    assert str(second) == "2 skipped (1 error, 1 ok)"
    assert not cheap_runners.run(cells[:1], tmp_path, io.StringIO()).failed


def test_done_cells_are_skipped_and_failed_ones_only_retried_when_asked(tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cheap_runners.cell("fine", log=log), cheap_runners.cell("raise", log=log)]

    def measured_after(**options: bool) -> tuple[int, str]:
        stream = io.StringIO()
        cheap_runners.run(cells, results, stream, **options)
        return len(log.read_text().splitlines()), stream.getvalue()

    assert measured_after()[0] == 2
    count, text = measured_after()
    assert count == 2
    assert "2 of 2 cells have a record already" in text
    assert "1 error: left as they are (--retry-failed" in text
    assert measured_after(retry_failed=True)[0] == 3
    assert measured_after(redo=True)[0] == 5


def start_driver(results: Path, log: Path, *what: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    return subprocess.Popen(
        [sys.executable, str(HERE / "cheap_runners.py"), str(results), str(log), *what],
        env=environment,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(log: Path, count: int) -> list[list[str]]:
    deadline = time.monotonic() + 240  # a machine that others use is slow
    while time.monotonic() < deadline:
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.02)
    raise AssertionError(f"no {count} cells were started in time")


def assert_all_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes {alive} outlived their driver")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGTERM))]
)
def test_an_ended_driver_loses_only_the_running_cell(tmp_path, number):
    results, log = tmp_path / "results", tmp_path / "log"
    plan = ["fine", "fine", "hang_once", "fine"]
    driver = start_driver(results, log, *plan)
    started = wait_for_lines(log, 3)
    family = psutil.Process(driver.pid).children(recursive=True)
    # Ctrl-C reaches the whole group of the terminal, the cell's process too.
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)
    else:
        os.kill(driver.pid, number)
    driver.communicate(timeout=120)
    assert driver.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert_all_gone([process.pid for process in family])
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert len(before) == 2
    assert {path.stem for path in before} == {cell_id for cell_id, _ in started[:2]}

    said = io.StringIO()  # of a second one, here, where everything is imported
    summary = cheap_runners.run([cheap_runners.cell(what, i, log=log) for i, what in enumerate(plan)], results, said)
    assert not summary.failed
    assert "2 of 4 cells have a record already" in said.getvalue()
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in before.items())
    measured = [cell_id for cell_id, _ in wait_for_lines(log, 5)]
    assert len(measured) == 5
    assert [measured.count(cell_id) for cell_id in dict.fromkeys(measured)] == [1, 1, 2, 1]
    assert {record.status for record in read_records(results)} == {"ok"}
    assert not list(results.rglob("*.tmp"))


def test_a_record_that_cannot_be_read_stops_the_run_before_anything_is_measured(tmp_path):
    cells = [cheap_runners.cell("fine"), cheap_runners.cell("raise")]
    cheap_runners.run(cells, tmp_path, io.StringIO())
    path = next(tmp_path.rglob(f"{cells[0].id}.json"))
    path.write_text(path.read_text()[:200])
    with pytest.raises(RecordError, match=rf"{path.name}: not a whole JSON file"):
        cheap_runners.run(cells, tmp_path, io.StringIO())


def test_quality_cells_keep_predictions_beside_their_record(tmp_path):
    import numpy as np

    cell = cheap_runners.cell("fine", kind="quality")
    cheap_runners.run([cell], tmp_path, io.StringIO())
    path = next(tmp_path.rglob(f"predictions/{cell.id}.npz"))
    assert path.parent.parent == next(tmp_path.rglob(f"{cell.id}.json")).parent
    with np.load(path) as stored:
        assert stored["logits"].dtype == np.float32
        assert stored["logits"].shape == (2, 3)
        assert str(stored["ids_sha256"]) == "0"


def test_a_run_leaves_a_csv_file_beside_its_records(tmp_path):
    import pandas as pd

    cells = [cheap_runners.cell("fine"), cheap_runners.cell("raise")]
    cheap_runners.run(cells, tmp_path, io.StringIO())
    frame = pd.read_csv(next(tmp_path.rglob("cells.csv"))).set_index("cell")
    assert len(frame) == 2
    assert frame.loc[cells[0].id, "clips_per_s"] == pytest.approx(4 / 2.0)
    assert frame.loc[cells[0].id, "speedup_unmerged"] == pytest.approx(3.0 / 2.0)
    assert frame.loc[cells[1].id, "status"] == "error"


def test_a_record_names_no_folder_of_this_machine(tmp_path):
    cheap_runners.run([cheap_runners.cell("raise")], tmp_path, io.StringIO(), command=("python", "-m", "bench"))
    text = next(tmp_path.rglob("*.json")).read_text()
    for private in (str(Path.home()), str(Path.cwd()), os.uname().nodename):
        assert private not in text
    record = read_record(next(tmp_path.rglob("*.json")))
    assert record.started.utcoffset().total_seconds() == 0
    assert json.loads(text)["schema_version"] == SCHEMA_VERSION


def test_scrub_makes_one_line_without_folders():
    assert scrub(f"a\n  b {Path.home()}/x") == "a b ~/x"


def time_with_another_pytorch(path: Path) -> None:
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"software": kept["software"] | {"torch": "1.0.0"}}, indent=1) + "\n")


def test_times_do_not_come_to_stand_beside_those_of_another_pytorch(tmp_path):
    cells = [cheap_runners.cell("fine"), cheap_runners.cell("noisy")]
    cheap_runners.run(cells[:1], tmp_path, io.StringIO())
    (path,) = tmp_path.rglob("*.json")
    time_with_another_pytorch(path)
    with pytest.raises(RunError, match=rf"{path.parent}: .* PyTorch is 1\.0\.0 and 2\. .*--results.*--redo"):
        cheap_runners.run(cells, tmp_path, io.StringIO())
    assert [record.cell.id for record in read_records(tmp_path)] == [cells[0].id]
    # Nothing is to be measured, or everything: nothing comes to stand beside anything.
    assert cheap_runners.run(cells[:1], tmp_path, io.StringIO()).before == {"ok": 1}
    assert cheap_runners.run(cells, tmp_path, io.StringIO(), redo=True).measured.total() == 2


def test_what_an_ended_run_left_disturbed_is_not_measured_again_with_another_pytorch(tmp_path, monkeypatch):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cheap_runners.cell("disturbed:1", log=log), cheap_runners.cell("calm", log=log)]
    monkeypatch.setattr("bench.run.writer.RecordWriter.disturbed", lambda self, cells: [])
    assert cheap_runners.run(cells, results, io.StringIO()).measured == {"disturbed": 1, "ok": 1}
    monkeypatch.undo()
    for path in results.rglob("*.json"):
        time_with_another_pytorch(path)
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    with pytest.raises(RunError, match=rf"times of cell {cells[1].id} .* PyTorch is 1\.0\.0 and 2\. .*--redo"):
        cheap_runners.run(cells, results, io.StringIO())
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before
    assert len(log.read_text().splitlines()) == 2


def test_where_nothing_is_to_be_measured_times_of_two_pytorches_are_told_of(tmp_path):
    cells = [cheap_runners.cell("fine"), cheap_runners.cell("calm")]
    cheap_runners.run(cells, tmp_path, io.StringIO())
    calm, told = io.StringIO(), io.StringIO()
    cheap_runners.run(cells, tmp_path, calm)
    assert "cannot be compared" not in calm.getvalue()
    time_with_another_pytorch(next(tmp_path.rglob(f"{cells[0].id}.json")))
    assert cheap_runners.run(cells, tmp_path, told).before == {"ok": 2}
    (line,) = [line for line in told.getvalue().splitlines() if "cannot be compared" in line]
    assert all(cell.id in line for cell in cells)
    assert line.endswith("(--redo)")


@pytest.mark.parametrize("other", [0, 1])
def test_a_record_whose_cell_the_sweep_no_longer_has_is_to_be_moved_away(tmp_path, other):
    dropped, kept = [cheap_runners.cell("fine"), cheap_runners.cell("calm")], cheap_runners.cell("noisy")
    cheap_runners.run(dropped, tmp_path, io.StringIO())
    time_with_another_pytorch(next(tmp_path.rglob(f"{dropped[other].id}.json")))
    with pytest.raises(RunError, match=rf"times of cell {dropped[other].id} .* or move that record away") as refused:
        cheap_runners.run([kept], tmp_path, io.StringIO(), redo=True)
    assert "--redo" not in str(refused.value)
    next(tmp_path.rglob(f"{dropped[other].id}.json")).unlink()
    assert cheap_runners.run([kept], tmp_path, io.StringIO(), redo=True).measured == {"noisy": 1}


class Nodes:
    """A launcher whose nodes are by turns of processors of these generations, under one key."""

    def __init__(self, *generations: str) -> None:
        machine, self.software = cheap_runners.probe("cpu", None)
        cpus = [machine.cpu.model_copy(update={"generation": generation}) for generation in generations]
        self.machines = [machine.model_copy(update={"cpu": cpu}) for cpu in cpus]

    def survey(self, cells, progress):
        return {"cpu": (self.machines[0], self.software)}

    def prepare(self, cells, cache, progress):
        pass

    def run(self, jobs, progress):
        for number, job in enumerate(jobs):
            machine, now = self.machines[number % len(self.machines)], datetime.now(UTC)
            outcome = Outcome(status="ok", value=replace(cheap_runners.answer(job.cell, None), machine=machine))
            yield Ended(
                cell=job.cell, outcome=outcome, machine=machine, software=self.software, started=now, finished=now,
                load=(None, None),
            )  # fmt: skip


@pytest.mark.parametrize(("generations", "times"), [(("6.85.7",), 0), (("6.85.7", "6.106.6"), 1)])
def test_nodes_of_one_key_that_are_two_machines_are_told_of_once(tmp_path, generations, times):
    stream, cells = io.StringIO(), [cheap_runners.cell("calm", number) for number in range(4)]
    cells.append(cheap_runners.cell("fine", kind="quality"))
    with Progress(stream) as progress:
        asked = Options(results=tmp_path, cache=tmp_path)
        run_sweep("cheap", cells, asked, progress=progress, launcher=Nodes(*generations))
    assert stream.getvalue().count("nodes with this key are different machines") == times
    assert ("generation (family.model.stepping) is 6.85.7 and 6.106.6" in stream.getvalue()) == bool(times)
    assert {record.machine.cpu.generation for record in read_records(tmp_path)} == set(generations)
