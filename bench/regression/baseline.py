"""Baselines of absolute times, which are compared on the same machine only.

A baseline is a file of pytest-benchmark in a folder named after the machine and the versions of PyTorch and Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.measure.machine import describe_machine, slug

STORAGE = Path("build/regression")
"""Folder of baselines unless `--benchmark-storage` names another."""
IDENTITY = (
    "key",
    "device",
    "device_name",
    "generation",
    "cores",
    "cpu_capability",
    "threads",
    "torch",
    "python",
    "system",
)
"""Facts that identify a machine: times of machines that differ in any of them are not compared."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier run."""

    path: Path
    machine: dict[str, Any]
    """Facts that identify the machine that it ran on."""
    benchmarks: dict[str, dict[str, Any]]
    """Measurements by the full name of the test."""

    def rounds(self, test: str) -> dict[str, list[float]] | None:
        """Return a test's seconds of every round by arm; None if the run lacks it, or compared it with a baseline."""
        extra = self.benchmarks.get(test, {}).get("extra_info", {})
        found: dict[str, list[float]] | None = extra.get("rounds") if extra.get("is_baseline") else None
        return found


def this_machine(device: str) -> dict[str, Any]:
    """Return the facts that identify this machine as this process uses it; none of them names its owner."""
    import platform

    machine = describe_machine(device)
    return {
        "key": machine.key,
        "device": machine.device,
        "device_name": machine.device_name,
        "generation": machine.cpu.generation,
        "cores": machine.cpu.logical_cores,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": machine.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def folder(root: Path, machine: Mapping[str, object]) -> Path:
    """Return the folder of a machine's baselines."""
    return root / str(machine["key"]) / f"torch-{slug(str(machine['torch']))}-python-{slug(str(machine['python']))}"


def read(path: Path) -> Baseline:
    """Read a run that pytest-benchmark saved. Raises ValueError that names the file if it is broken."""
    try:
        run = json.loads(path.read_bytes())
        benchmarks = {test["fullname"]: test for test in run["benchmarks"]}
        return Baseline(path=path, machine=run["machine_info"], benchmarks=benchmarks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is not a complete run of pytest-benchmark ({error!r}); delete it") from None


def choose(where: Path, machine: Mapping[str, Any], asked: str | None = None) -> tuple[Baseline, ...]:
    """Return the runs of this machine in its folder, newest first, or the one requested by file or number.

    Raises ValueError if the requested one does not exist, or is from another machine.
    """
    if asked is None:
        return tuple(run for run in _newest_first(where) if not differences(machine, run.machine))
    if Path(asked).is_file():
        found = read(Path(asked))
    else:
        matching = [run for run in _newest_first(where) if run.path.name.startswith(f"{asked}_")]
        if not matching:
            names = ", ".join(run.path.name for run in _newest_first(where)) or "none"
            raise ValueError(f"{asked!r} is neither a file nor the number of a baseline in {where}, which has: {names}")
        found = matching[0]
    different = differences(machine, found.machine)
    if different:
        raise ValueError(
            f"the baseline is from another machine: {'; '.join(different)}. Absolute times cannot be compared. Omit "
            "--benchmark-compare to use this machine's own baseline"
        )
    return (found,)


def find_rounds(runs: tuple[Baseline, ...], test: str) -> dict[str, list[float]] | None:
    """Return the seconds of every round by arm from the first run that is a test's baseline, None if there is none."""
    return next((found for run in runs if (found := run.rounds(test)) is not None), None)


def _newest_first(where: Path) -> Iterator[Baseline]:
    paths = where.rglob("[0-9][0-9][0-9][0-9]_*.json")
    return (read(path) for path in sorted(paths, key=lambda path: path.name, reverse=True))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return in words how two machines differ; empty if their times can be compared."""
    return [
        f"{name} is {here.get(name)!r} here and {there.get(name)!r} there"
        for name in IDENTITY
        if here.get(name) != there.get(name)
    ]
