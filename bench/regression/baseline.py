"""Absolute times, compared with a baseline of the same machine only.

A baseline is a file of pytest-benchmark in a folder named after the machine: processor or GPU, threads, PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.machine import describe_machine, slug

STORAGE = Path("build/regression")
"""Where baselines are kept where `--benchmark-storage` names no other folder."""
SLOWER = "min:25%"
"""What fails against a baseline: the fastest round, as whatever disturbs a machine makes rounds slower, not faster."""
IDENTITY = ("key", "device", "device_name", "threads", "torch", "python", "system")
"""What makes a machine the same: times of machines that differ in one of these are not compared."""


def describe(device: str) -> dict[str, Any]:
    """Return what identifies this machine as this process uses it; nothing of it names the machine's owner."""
    import platform

    machine = describe_machine(device)
    return {
        "key": machine.key,
        "device": machine.device,
        "device_name": machine.device_name,
        "threads": machine.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def folder(root: Path, machine: Mapping[str, object]) -> Path:
    """Return where the baselines of a machine are kept."""
    return root / str(machine["key"]) / f"torch-{slug(str(machine['torch']))}-python-{slug(str(machine['python']))}"


def newest(where: Path) -> Path | None:
    """Return the newest saved run below a machine's folder, None where there is none."""
    return max(where.rglob("[0-9][0-9][0-9][0-9]_*.json"), key=lambda path: path.name, default=None)


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return in words how two machines differ; empty where their times can be compared."""
    return [
        f"{name} is {here.get(name)!r} here and {there.get(name)!r} there"
        for name in IDENTITY
        if here.get(name) != there.get(name)
    ]
