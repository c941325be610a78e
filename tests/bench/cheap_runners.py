"""Stand-ins for what runs in a cell's process: no model, and every way to go wrong on demand.

A cell's model is named after what its process shall do, such as `sleep:0.3` or `raise`; its path is a log that the
process writes its cell and its own id to.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.cell.answers import Answer, Context
from bench.measure.disturbance import Disturbance
from bench.measure.gates import gate
from bench.measure.machine import Cpu, Machine, Software
from bench.measure.memory import ArmMemory, Memory
from bench.records.predictions import Predictions
from bench.records.schema import ArmTimes, Noise, Performance, Warmup


def probe(device: str, threads: int | None) -> tuple[Machine, Software]:
    cpu = Cpu(model="Abacus", generation=None, physical_cores=1, logical_cores=1, governor=None)
    machine = Machine(
        key="cpu-abacus-1-threads",
        device="cpu",
        device_name="Abacus",
        cpu=cpu,
        gpu=None,
        threads=1,
        memory_bytes=1,
    )
    versions = dict.fromkeys(("torchvision", "timm", "numpy", "scipy", "scikit_learn", "cuda"))
    software = Software(
        python="3",
        os="Linux",
        kernel="6",
        torch="2",
        cudnn=None,
        blas="other",
        onednn=False,
        cpu_capability="none",
        float32_matmul_precision="highest",
        tf32_cudnn=False,
        cudnn_benchmark=False,
        deterministic=False,
        **versions,
    )
    return machine, software


def answer(cell, context: Context) -> Answer:
    if cell.model.path is not None:
        with cell.model.path.open("a") as file:
            file.write(f"{cell.id} {os.getpid()}\n")
    what, _, value = cell.model.name.partition(":")
    if what == "sleep":
        time.sleep(float(value))
    elif what == "hang_once" and cell.model.path.read_text().count(cell.id) == 1:
        time.sleep(600)
    elif what == "raise":
        raise ValueError(f"no luck in {Path.home()}/secret")
    elif what == "memory":
        raise MemoryError("not a byte left")
    elif what == "cuda_memory":
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what.endswith("_then_broken") and cell.model.path.read_text().count(cell.id) == 2:
        raise ValueError("broken the second time")
    elif what == "exit":
        os._exit(7)
    machine, software = probe("cpu", None)
    gates = (
        gate("identity", 0.0, 1.0, "logits"),
        gate("mac_bound", 9.0 if what == "implausible" else 1.0, 2.0, "ratio"),
    )
    noisy = what in ("noisy", "implausible")
    part = performance()
    before = cell.model.path.read_text().count(cell.id) - 1 if cell.model.path is not None else 0
    if what == "disturbed_then_broken":
        part = performance(reasons=("7 of 7 rounds were disturbed",))
    elif what == "disturbed":  # the first so many times
        part = performance(reasons=("7 of 7 rounds were disturbed",) if before < int(value) else ())
    elif what.startswith("slowed"):  # all arms ten times, the first so many times, and no counter saw why
        slow = 10.0 if before < int(value) else 1.0
        part = performance((2 * slow,) * 5, (3 * slow,) * 5, reasons=())
    elif what == "calm":
        part = performance((2.0,) * 5, (3.0,) * 5, reasons=())
    result = Answer(machine=machine, software=software, noisy=noisy, performance=part, gates=gates)
    if cell.kind == "quality":
        predictions = Predictions(np.full((2, 3), 0.5, np.float32), "sigmoid")
        return Answer(machine=machine, software=software, predictions=predictions, hashes={"ids_sha256": "0"})
    return result


def performance(candidate=(2.0, 2.0, 2.0), unmerged=(3.0, 3.0, 3.0), *, reasons=None) -> Performance:
    arms = {"candidate": candidate, "unmerged": unmerged}
    return Performance(
        clock="fake",
        input="none",
        search=None,
        flushed_bytes=0,
        warmup=Warmup(rule="none", iterations=dict.fromkeys(arms, 0), stable=dict.fromkeys(arms, True)),
        noise=Noise(value=0.5, limit=0.1, attempts=(0.5,)),
        disturbance=None if reasons is None else Disturbance(reasons=reasons, repeated=(), unread=()),
        rounds=len(candidate),
        arms={
            name: ArmTimes(seconds=tuple(seconds), iterations_per_round=1, batch_size=4, first_call_s=None, load=None)
            for name, seconds in arms.items()
        },
        memory=Memory(
            kind="none",
            arms={name: ArmMemory(before_bytes=1, peak_bytes=3, after_bytes=2, reserved_bytes=None) for name in arms},
        ),
        energy=None,
    )


def cell(what: str, number: int = 0, *, log: Path | None = None, kind: str = "performance", time_limit_s: float = 30.0):
    from bench.sweep.cells import Cell, ModelRef
    from bench.sweep.config import DataConfig, MeasureConfig
    from bench.sweep.data import resolve_data

    return Cell(
        kind=kind,
        model=ModelRef(name=what, path=log, sha256=None, frames=None),
        reduction=None,
        attention="auto",
        dtype="float32",
        device="cpu",
        seed=number,
        measure=MeasureConfig(time_limit_s=time_limit_s),
        batch_size=4 if kind == "performance" else None,
        data=resolve_data(DataConfig(clips=2)) if kind == "quality" else None,
    )


@dataclass(frozen=True, kw_only=True)
class Invented:
    """Options of a data set that there is not: resolving a real one would load PyTorch."""


def light(cell):
    """Return a cell as one of quality, on invented data."""
    from bench.sweep.data import DataRef

    of = {"dataset": "invented", "split": "test", "clips": 2, "classes": ("a", "b", "c"), "ids_sha256": "0"}
    return replace(cell, kind="quality", batch_size=None, data=DataRef(options=Invented(), **of))


def run(cells, results: Path, stream=None, **options):
    """Run cells with the functions of this module."""
    from bench.run.driver import Options, Runners, run_sweep
    from bench.run.isolation import Isolation
    from bench.run.progress import Progress

    runners = Runners(probe="cheap_runners:probe", prepare="cheap_runners:prepare", answer="cheap_runners:answer")
    with Progress(stream) as progress:
        return run_sweep(
            "cheap",
            cells,
            Options(results=results, cache=results, **options),
            progress=progress,
            isolation=Isolation(preload=("bench.sweep.cells", "bench.cell.answers")),
            runners=runners,
        )


def prepare(*arguments: object) -> None:
    return None


if __name__ == "__main__":  # a driver for the tests to interrupt: results, log, then what the cells shall do
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
    numbered = [cell(what, number, log=Path(sys.argv[2])) for number, what in enumerate(sys.argv[3:])]
    try:
        run(numbered, Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
