"""Cells in jobs: submitit's local jobs for how a run goes, an `sbatch` of our own for what Slurm is asked for."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
import stat
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cheap_runners
import cluster_runners
import psutil
import pytest
from cluster_runners import cell, lines

from bench.records.store import read_records
from bench.run.driver import Options, run_sweep
from bench.run.isolation import Outcome
from bench.run.launchers import Job, RunError
from bench.run.launchers.choose import choose_launcher
from bench.run.launchers.node import CellOrder, NodeFacts, Report, code_digest, work
from bench.run.progress import Progress
from bench.sweep.complaints import ConfigError
from fastast.system.writing import write_whole

pytest.importorskip("submitit", reason="submitit is an extra: pip install 'fastast[slurm]'")

from bench.run.launchers.slurm import SlurmLauncher, work_all
from bench.run.launchers.slurm_config import Place, SlurmConfig, load_slurm_config

HERE = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def jobs_find_the_runners(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{HERE.parents[1]}")


def config(tmp_path, **changes):
    devices = {"H100": Place(), "cpu": Place()}
    return SlurmConfig(**({"folder": str(tmp_path / "jobs"), "cluster": "local", "devices": devices} | changes))


def run(cells, results, settings):
    stream = io.StringIO()
    with Progress(stream) as progress, SlurmLauncher(settings, poll_s=0.2, runners=cluster_runners.RUNNERS) as launcher:
        summary = run_sweep(
            "cheap", cells, Options(results=results, cache=results), progress=progress, launcher=launcher
        )
    return summary, stream.getvalue()


def test_every_cell_has_one_record_from_a_machine_of_its_device(tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    ways = ("fine", "fine", "killed", "raise")  # by turns on each device: two jobs of two cells
    cells = [cell(what, number, log=log, device=("H100", "cpu")[number % 2]) for number, what in enumerate(ways)]
    summary, _ = run(cells, results, config(tmp_path, cells_per_job=2))
    assert summary.measured == {"ok": 2, "error": 2}
    records = read_records(results)
    assert Counter(record.machine.key for record in records) == {"abacus": 2, "cpu-abacus": 2}
    assert Counter(line["cell"] for line in lines(log, "begin")) == Counter(one.id for one in cells)
    assert {line["cell"] for line in lines(log, "end")} == {one.id for one in cells[:2]}
    messages = {record.cell.id: record.message for record in records}
    assert "SIGKILL" in messages[cells[2].id]
    assert "no luck" in messages[cells[3].id]
    assert not list((tmp_path / "jobs").iterdir()), "jobs and reports are removed where a run ended well"


@pytest.mark.slow
def test_a_job_that_dies_is_submitted_again_and_measures_only_what_is_missing(tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cell("fine", 1, log=log, device="cpu"), cell("once:600", 2, log=log, device="cpu")]

    def kill():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            hanging = [line for line in lines(log, "begin") if line["cell"] == cells[1].id]
            if hanging:
                family = psutil.Process(hanging[0]["pid"]).parents()
                jobs = [one for one in family if "submitit" in " ".join(one.cmdline())]
                assert jobs, [one.cmdline() for one in family]
                for one in jobs:
                    one.send_signal(signal.SIGKILL)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=kill)
    thread.start()
    summary, text = run(cells, results, config(tmp_path, cells_per_job=2))
    thread.join()
    assert summary.measured == {"ok": 2}
    assert "its job ended without a report; submitted again" in text
    begun = Counter(line["cell"] for line in lines(log, "begin"))
    assert begun == {cells[0].id: 1, cells[1].id: 2}
    assert {record.status for record in read_records(results)} == {"ok"}


class DeadlyJobs:
    """Jobs that end at once: they run cells in turn, as far as one that takes its job down with it."""

    def __init__(self, deadly: set[str]) -> None:
        self.deadly, self.begun, self.sizes = deadly, Counter(), []

    def submit(self, function, orders, folder):
        assert function is work_all
        self.sizes.append(len(orders))
        write_whole(folder / "begun", b"")
        now, (machine, software) = datetime.now(UTC), cluster_runners.probe("cpu", None)
        for number, order in enumerate(orders):
            self.begun[order.cell.id] += 1
            if order.cell.id in self.deadly:
                break
            answered = Outcome(status="ok", value=cheap_runners.answer(order.cell, None))
            facts = NodeFacts(machine=machine, software=software)
            report = Report(outcome=answered, facts=facts, started=now, finished=now, load=(None, None))
            write_whole(folder / f"{number}.report", pickle.dumps(report))
        return self

    def done(self):
        return True

    def exception(self):
        return RuntimeError("out of memory")


class StillbornJobs(DeadlyJobs):
    """Of them, the first so many end without having begun a cell: their partition is down."""

    def __init__(self, deadly: set[str], down: int) -> None:
        super().__init__(deadly)
        self.down = down

    def submit(self, function, orders, folder):
        if len(self.sizes) >= self.down:
            return super().submit(function, orders, folder)
        self.sizes.append(len(orders))
        return self


def outcomes(tmp_path, monkeypatch, cells, jobs, cells_per_job):
    """How the cells end in jobs that end at once."""
    monkeypatch.setattr(SlurmLauncher, "_executor", lambda *arguments, **options: jobs)
    settings = config(tmp_path, cells_per_job=cells_per_job)
    launcher = SlurmLauncher(settings, poll_s=0.0, runners=cluster_runners.RUNNERS)
    machine, software = cluster_runners.probe("cpu", None)
    launcher._known["cpu"] = NodeFacts(machine=machine, software=software)
    asked = [Job(cell=one, reference=lambda: None) for one in cells]
    with Progress(io.StringIO()) as progress:
        return {end.cell.id: end.outcome for end in launcher.run(asked, progress)}


@pytest.mark.parametrize("deadly", [{0}, {4}, {1, 3}, {0, 1, 2, 3, 4}])
def test_a_cell_that_takes_its_job_down_costs_no_other_its_answer(tmp_path, monkeypatch, deadly):
    cells = [cell("fine", number, log=None, device="cpu") for number in range(5)]
    jobs = DeadlyJobs({cells[number].id for number in deadly})
    ends = outcomes(tmp_path, monkeypatch, cells, jobs, 5)
    assert {i for i, one in enumerate(cells) if ends[one.id].status == "error"} == deadly
    assert [jobs.begun[one.id] for one in cells] == [3 if i in deadly else 1 for i in range(5)]
    assert all("3 times: out of memory" in ends[cells[i].id].message for i in deadly)
    assert jobs.sizes.count(1) >= 2 * len(deadly), "what ended a job has the next ones to itself"


def test_jobs_that_never_begin_a_cell_are_submitted_again_as_they_were_and_no_more_than_three_times(
    tmp_path, monkeypatch
):
    cells = [cell("fine", number, log=None, device="cpu") for number in range(12)]
    jobs = StillbornJobs(set(), down=100)
    ends = outcomes(tmp_path, monkeypatch, cells, jobs, 6)
    assert jobs.sizes == [6] * 6
    assert [ends[one.id].status for one in cells] == ["error"] * 12
    assert all("ended without a report, 3 times: out of memory" in end.message for end in ends.values())


def test_after_a_job_that_never_began_the_next_is_as_any_other(tmp_path, monkeypatch):
    cells = [cell("fine", number, log=None, device="cpu") for number in range(5)]
    jobs = StillbornJobs({cells[1].id}, down=2)
    ends = outcomes(tmp_path, monkeypatch, cells, jobs, 5)
    assert [ends[one.id].status for one in cells] == ["ok", "error", "ok", "ok", "ok"]
    assert [jobs.begun[one.id] for one in cells] == [1, 3, 1, 1, 1]
    assert jobs.sizes == [5, 5, 5, 3, 1, 1], "what ended a job has the next ones to itself"


def test_a_job_leaves_word_that_it_began_before_its_first_cell(tmp_path, monkeypatch):
    def out_of_memory(order):
        raise MemoryError(order)

    monkeypatch.setattr("bench.run.launchers.node.work", out_of_memory)
    with pytest.raises(MemoryError, match="first"):
        work_all(["first", "second"], tmp_path / "reports")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["begun"]


def test_a_node_that_was_not_asked_before_checks_code_and_weights(tmp_path):
    """Slurm asks one node of a device; a job may run on another."""
    fine = cell("fine", 0, log=tmp_path / "log", device="cpu")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"other weights")
    trained = replace(fine, model=replace(fine.model, path=weights, sha256=hashlib.sha256(b"weights").hexdigest()))
    known = {"reference": None, "cache": None, "runners": cluster_runners.RUNNERS}
    for one, code, why in (
        (fine, "0" * 64, "its FastAST differs from the driver's"),
        (trained, code_digest(), "weights.safetensors differs from the driver's"),
    ):
        report = work(CellOrder(cell=one, code=code, **known))
        assert (report.outcome.status, why in report.outcome.message) == ("error", True)
        assert report.facts is not None, "the record names the machine"
    assert not (tmp_path / "log").exists()
    assert work(CellOrder(cell=fine, code=code_digest(), **known)).outcome.status == "ok"


FAKE_SBATCH = """#!/bin/sh
cp "$1" "{folder}/submitted-$$.sh"
echo "Submitted batch job 4$$"
"""


def test_slurm_is_asked_for_what_the_file_says(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    idle = "#!/bin/sh\n"
    for name, text in {
        "sbatch": FAKE_SBATCH.format(folder=tmp_path),
        "srun": idle,
        "sacct": idle,
        "scancel": idle,
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    place = Place(
        partition="gpu", gres="gpu:h100:1", account="audio", cpus_per_task=8, mem_gb=64, setup=["module load cuda"]
    )
    settings = config(tmp_path, cluster="slurm", devices={"H100": place})
    with SlurmLauncher(settings, runners=cluster_runners.RUNNERS) as launcher:
        executor = launcher._executor("H100", "some-cell", 20.0)
        executor.submit(print, "never runs")
    (script,) = tmp_path.glob("submitted-*.sh")
    text = script.read_text()
    for line in (
        *("--partition=gpu", "--gres=gpu:h100:1", "--account=audio", "--cpus-per-task=8", "--mem=64GB"),
        *("--exclusive", "--time=21", "--nodes=1", "--job-name=fastast-some-cell"),
    ):
        assert f"#SBATCH {line}" in text, line
    assert "module load cuda" in text


def test_without_sbatch_the_run_says_where_to_start_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="no sbatch here"), SlurmLauncher(config(tmp_path, cluster="slurm")):
        pass


def test_devices_are_those_of_the_file(tmp_path):
    launcher = SlurmLauncher(config(tmp_path))
    assert [launcher.resolve(device) for device in ("H100", "cpu", "auto")] == ["H100", "cpu", "H100"]
    with pytest.raises(ValueError, match="'A100' is not in the file of --slurm-config, which has GPUs: H100"):
        launcher.resolve("A100")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.H100]\npartion = 'gpu'\n", "devices.H100.partion: unknown key; did you mean 'partition'?"),
        ("[devices.cpu]\nmem_gb = '4'\n", "devices.cpu.mem_gb: '4' is not a whole number"),
        ("[devices.cpu]\nsetup = 'module load'\n", "devices.cpu.setup: 'module load' is not a list"),
        ("[devices]\ncpu = 3\n", "devices.cpu: 3 is not a table"),
        ("folder = 'x'\n", "devices: is missing; it is required"),
        ("devices = {}\n", "devices: is empty; give at least 1"),
        ("cells_per_job = 0\n[devices.cpu]\n", "cells_per_job: must be greater than or equal to 1 (got 0)"),
        ("[devices", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_met_with_file_key_and_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "slurm.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        load_slurm_config(path)
    assert f"{path}: {message}" in str(told.value)


def test_options_of_another_launcher_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--slurm-config does nothing with --launcher local"):
        choose_launcher("local", slurm_config=tmp_path)
    with pytest.raises(ConfigError, match=r"--ray-address, .* and --ray-wait do nothing with --launcher slurm"):
        choose_launcher("slurm", ray_address="auto")
    with pytest.raises(ConfigError, match=r"--ray-wait do nothing with --launcher local"):
        choose_launcher("local", ray_wait_s=0.0)
    with pytest.raises(ConfigError, match="--ray-resource names two resources for cpu"):
        choose_launcher("ray", ray_resources=("cpu=node:1", "cpu=node:2"))
    with pytest.raises(ConfigError, match="--launcher slurm needs --slurm-config FILE"):
        choose_launcher("slurm")
    with pytest.raises(ConfigError, match="write DEVICE=NAME"):
        choose_launcher("ray", ray_resources=("cpu",))
    with pytest.raises(ConfigError, match="absent.toml: cannot be read"):
        choose_launcher("slurm", slurm_config=tmp_path / "absent.toml")


def test_a_launcher_is_found_by_name_and_the_nearest_is_named():
    assert type(choose_launcher("local")).__name__ == "LocalLauncher"
    assert type(choose_launcher("ray", ray_resources=("cpu=here",))).__name__ == "RayLauncher"
    with pytest.raises(ConfigError, match="--launcher slrum: unknown launcher 'slrum'. Did you mean 'slurm'?"):
        choose_launcher("slrum")
