"""Energy of a forward pass, from the driver's (NVML) or the processor's (RAPL) counters, or the reason for none.

Both count the energy of the whole device or package, other processes included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.measure import nvml
from bench.measure.machine import Facts

SECONDS = 2.0
"""How long an arm runs to measure its energy: NVML updates its counter about ten times per second."""
RAPL = Path("/sys/class/powercap")
"""Folder of Linux's energy counters for Intel and AMD processors."""

Counter = Callable[[], float | None]
"""Returns the joules so far, or None once they cannot be read any more."""


class _SilentCounter(Exception):  # noqa: N818 - caught in this file
    """A counter that stopped answering while an arm ran."""


class ArmEnergy(Facts):
    """Energy of one arm."""

    joules: float
    """Energy of the whole device or package, idle power included."""
    seconds: float
    forwards: int


class Energy(Facts):
    """Energy of every arm."""

    source: str
    """`NVML`, `RAPL` or `unavailable`."""
    reason: str
    """Why it is unavailable; empty if it is available."""
    arms: dict[str, ArmEnergy]


def measure_energy(
    calls: Mapping[str, Callable[[], object]], device: str, *, seconds: float = SECONDS, rapl: Path = RAPL
) -> Energy:
    """Run every arm for `seconds` and return the energy used meanwhile; `device` is `cpu` or `cuda`."""
    with _gpu_counter() if device == "cuda" else _cpu_counter(rapl) as (source, counter):
        if counter is None:
            return Energy(source="unavailable", reason=source, arms={})
        synchronise = _synchronise if device == "cuda" else _nothing
        try:
            arms = {name: _run(call, counter, synchronise, seconds) for name, call in calls.items()}
        except _SilentCounter:
            return Energy(source="unavailable", reason=f"{source} stopped answering", arms={})
        return Energy(source=source, reason="", arms=arms)


def _run(call: Callable[[], object], counter: Counter, synchronise: Callable[[], None], seconds: float) -> ArmEnergy:
    synchronise()
    start, before, forwards = time.perf_counter(), counter(), 0
    while forwards == 0 or time.perf_counter() - start < seconds:
        call()
        synchronise()
        forwards += 1
    after = counter()
    if before is None or after is None:
        raise _SilentCounter
    return ArmEnergy(joules=after - before, seconds=time.perf_counter() - start, forwards=forwards)


@contextmanager
def _gpu_counter() -> Iterator[tuple[str, Counter | None]]:
    """Yield `NVML` and its counter, or a reason and None."""
    with nvml.current_device() as handle:
        if handle is None:
            yield "NVML does not answer; the extra [gpu] installs its Python package", None
        elif handle.energy_j() is None:
            yield "this GPU or driver counts no energy", None
        else:
            yield "NVML", handle.energy_j


@contextmanager
def _cpu_counter(folder: Path) -> Iterator[tuple[str, Counter | None]]:
    """Yield `RAPL` and a counter over all packages that handles their wrap-around, or a reason and None."""
    zones = sorted(zone for zone in folder.glob("intel-rapl:*") if zone.name.count(":") == 1 and _is_package(zone))
    if not zones:
        yield "this processor shows no energy counters (RAPL)", None
        return
    try:
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        last = [int((zone / "energy_uj").read_text()) for zone in zones]
    except (OSError, ValueError):
        yield "the energy counters (RAPL) cannot be read; they are the administrator's", None
        return
    total = [0]

    def counter() -> float | None:
        for i, zone in enumerate(zones):
            try:
                value = int((zone / "energy_uj").read_text())
            except (OSError, ValueError):
                return None
            total[0] += (value - last[i]) % ranges[i]
            last[i] = value
        return total[0] / 1e6

    yield "RAPL", counter


def _is_package(zone: Path) -> bool:
    """Whether a zone is a processor, unlike `psys`, the whole computer, which includes them."""
    try:
        return (zone / "name").read_text().startswith("package")
    except OSError:
        return False


def _synchronise() -> None:
    import torch

    torch.cuda.synchronize()


def _nothing() -> None:
    pass
