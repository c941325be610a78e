"""A cluster of mixed GPUs, emulated on this machine: where cells go, and what becomes of them when workers die."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import cluster_runners
import psutil
import pytest
from cluster_runners import cell, lines

from bench.measure.devices import gpu_type
from bench.records.store import read_records
from bench.run.driver import Options, run_sweep
from bench.run.launchers import RunError
from bench.run.progress import Progress
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.expansion import expand
from fastast.reduction import TokenReduction
from fastast.schedule import Constant
from fastast.system.processors import most_threads

pytest.importorskip("ray", reason="Ray is an extra: pip install 'fastast[ray]'")

from bench.run.launchers.ray_cluster import RayLauncher

HERE = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Emulated:
    """A cluster of a head without cells, an A100 node and an H100 node."""

    def __init__(self):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
        from ray.cluster_utils import Cluster

        # Linux ends a node with the thread that started it, not with the process.
        self.caretaker = ThreadPoolExecutor(1)
        # A node that is gone is missed after two seconds, where the default is 15.
        pulse = {"health_check_period_ms": 500, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": pulse}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = {name: self.add(name) for name in ("A100", "H100")}
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="error")

    def add(self, name, machine=None):
        node = self.caretaker.submit(self._start, name, machine or f"nvidia-{name.lower()}").result()
        self.nodes = {**getattr(self, "nodes", {}), name: node}
        return node

    def _start(self, name, machine):
        # A node would handle SIGTERM for this whole process, which no thread but the first may ask for.
        with mock.patch("ray._private.utils.set_sigterm_handler"):
            return self.cluster.add_node(
                num_cpus=2,
                num_gpus=1,
                resources={f"accelerator_type:{name}": 1, f"only_{name}": 1},
                env_vars={
                    "PYTHONPATH": str(HERE),
                    "FAKE_MACHINE": machine,
                    "FAKE_CPU": name.lower(),
                },
            )

    def remove(self, name):
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)


@pytest.fixture(scope="module")
def emulated():
    import ray

    cluster = Emulated()
    yield cluster
    ray.shutdown()
    cluster.cluster.shutdown()


def run(cells, results, **options):
    """Run cells on the cluster and return how they stand and what a person sees."""
    stream = io.StringIO()
    with Progress(stream) as progress, RayLauncher(runners=cluster_runners.RUNNERS, wait_s=240, **options) as launcher:
        summary = run_sweep(
            "cheap", cells, Options(results=results, cache=results), progress=progress, launcher=launcher
        )
    return summary, stream.getvalue()


def meanwhile(log, act):
    """Call `act` with the line of the first cell that hangs, while the run goes on."""

    def wait():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            hanging = [line for line in lines(log, "begin") if line["cell"] == act.cell]
            if hanging:
                act(hanging[0])
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def assert_every_cell_has_one_record(cells, results, log):
    records = read_records(results)
    assert Counter(record.cell.id for record in records) == Counter(one.id for one in cells)
    assert {record.status for record in records} == {"ok"}
    assert Counter(line["cell"] for line in lines(log, "end")) == Counter(one.id for one in cells)


def test_cells_run_on_the_nodes_of_their_gpu_type_one_at_a_time(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cell("sleep:0.2", number, log=log, device=("A100", "H100")[number % 2]) for number in range(4)]
    summary, _ = run(cells, results)
    assert summary.measured == {"ok": 4}
    assert_every_cell_has_one_record(cells, results, log)
    for one in cells:
        folder = results / f"nvidia-{one.device.lower()}" / "cheap"
        assert (folder / f"{one.id}.json").exists()
        assert (folder / "cells.csv").exists()
    for name in ("nvidia-a100", "nvidia-h100"):
        there = sorted((line["begun"], line["ended"]) for line in lines(log, "end") if line["machine"] == name)
        assert len(there) == 2
        assert all(end <= begin for (_, end), (begin, _) in pairwise(there))
    assert {record.machine.device for record in read_records(results)} == {"cuda"}


@pytest.mark.slow
def test_a_cell_whose_worker_is_killed_is_measured_again_once(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cell("once:600", 1, log=log, device="A100"), cell("fine", 2, log=log, device="A100")]
    killed = []

    def kill(line):
        process = psutil.Process(line["pid"])
        worker = process.parent().parent()  # the cell's process comes from the server that the worker started
        assert "ray" in " ".join(worker.cmdline())
        worker.send_signal(signal.SIGKILL)
        killed.append(process)

    kill.cell = cells[0].id
    thread = meanwhile(log, kill)
    summary, text = run(cells, results)
    thread.join()
    assert summary.measured == {"ok": 2}
    assert_every_cell_has_one_record(cells, results, log)
    assert Counter(line["cell"] for line in lines(log, "begin")) == {cells[0].id: 2, cells[1].id: 1}
    assert "its worker or node was lost" in text
    assert "attempt 2 of 3" in text
    assert len(killed) == 1
    psutil.wait_procs(killed, timeout=10)
    assert not killed[0].is_running()


@pytest.mark.slow
def test_a_cell_whose_node_is_removed_is_measured_on_its_replacement(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [
        cell("once:600", 1, log=log, device="H100"),
        cell("fine", 2, log=log, device="H100"),
        cell("fine", 3, log=log, device="A100"),
    ]

    def replace_node(line):
        emulated.remove("H100")
        time.sleep(1)
        emulated.add("H100")

    replace_node.cell = cells[0].id
    thread = meanwhile(log, replace_node)
    summary, text = run(cells, results)
    thread.join()
    assert summary.measured == {"ok": 3}
    assert_every_cell_has_one_record(cells, results, log)
    assert Counter(line["cell"] for line in lines(log, "begin"))[cells[0].id] == 2
    assert "its worker or node was lost" in text


def test_a_gpu_type_that_the_cluster_lacks_is_refused_with_those_it_has(emulated):
    config = SweepConfig.model_validate({"name": "x", "kinds": ("performance",), "grid": {"device": ["H100", "H200"]}})
    with RayLauncher() as launcher:
        with pytest.raises(
            ConfigError, match="device.1: 'H200' is not in this Ray cluster, which has GPUs: A100, H100"
        ):
            expand(config, "sweep", launcher.resolve)
        with pytest.raises(ValueError, match="'auto' could be any of A100, H100"):
            launcher.resolve("auto")
        both = config.model_copy(update={"grid": config.grid.model_copy(update={"device": ("H100", "A100")})})
        cells = expand(both, "sweep", launcher.resolve)
    assert [one.device for one in cells] == ["H100", "A100"]
    assert cells[0].id == cells[1].id


def test_one_device_on_two_kinds_of_machines_needs_a_choice(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cell("fine", 1, log=log, device="cpu")]
    with pytest.raises(RunError, match=r"2 kinds of machines.*cpu-(a100|h100): node:.*--ray-resource cpu="):
        run(cells, results)
    assert not log.exists()
    summary, _ = run(cells, results, resources={"cpu": "only_H100"})
    assert summary.measured == {"ok": 1}
    assert [line["machine"] for line in lines(log, "end")] == ["cpu-h100"]


@pytest.mark.slow
def test_a_device_that_stays_without_a_node_ends_the_run_and_keeps_its_records(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    cells = [cell("fine", 1, log=log, device="H100"), cell("once:600", 2, log=log, device="H100")]

    def remove(line):
        emulated.remove("H100")

    remove.cell = cells[1].id
    thread = meanwhile(log, remove)
    patience = 30  # the node's first answer must come within it too, and on a busy machine that takes many seconds
    try:
        with (
            Progress(io.StringIO()) as progress,
            RayLauncher(runners=cluster_runners.RUNNERS, wait_s=patience) as launcher,
            pytest.raises(RunError, match=f"no node of the cluster has H100, for {patience} s; cells left: 1"),
        ):
            run_sweep("cheap", cells, Options(results=results, cache=results), progress=progress, launcher=launcher)
    finally:
        thread.join()
        emulated.add("H100")
    assert [record.cell.id for record in read_records(results)] == [cells[0].id]


def test_a_quality_cell_waits_for_the_unmerged_one_and_gets_its_predictions(emulated, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    reduction = TokenReduction(schedule=Constant(4))
    unmerged = cell("sleep:0.5", 1, log=log, device="A100", kind="quality")
    merged = replace(unmerged, reduction=reduction)
    run([merged, unmerged], results)
    ended = lines(log, "end")
    assert [(line["cell"], line["clips"]) for line in ended] == [(unmerged.id, "-"), (merged.id, "2")]


def test_threads_are_those_of_the_sweep_whatever_ray_sets(emulated):
    # Ray gives a worker OMP_NUM_THREADS; a cell's process sets PyTorch's threads itself and records them.
    threads = most_threads()  # Ray's is 1
    cells = [cell("fine", number, log=None, device="A100", threads=threads) for number in (1, 2)]
    cells = [replace(one, device="cpu") for one in cells]
    with Progress(io.StringIO()) as progress, RayLauncher(resources={"cpu": "only_A100"}) as launcher:
        machine, _ = launcher.survey(cells, progress)["cpu"]
    assert machine.threads == threads
    assert machine.key.endswith(f"-{threads}-threads")


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 80GB HBM3",
        "NVIDIA A100-SXM4-80GB",
        "Tesla V100-SXM2-16GB",
        "NVIDIA L4",
        "NVIDIA RTX A6000",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "NVIDIA GH200 480GB",
        "Quadro RTX 6000",
        "NVIDIA TITAN V",
    ],
)
def test_gpu_types_are_spelled_as_ray_does(name):
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    assert gpu_type(name) == NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(name)
