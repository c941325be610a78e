"""The conditions of a measurement: clocks, throttling and load, before, after and between its rounds.

`bench.measure.machine` describes what a machine is; this module, the state it was in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from bench.measure import nvml
from bench.measure.counters import throttled_seconds
from bench.measure.load import Load
from bench.measure.machine import Facts

_CPU = Path("/sys/devices/system/cpu")


class GpuMoment(Facts):
    """State of a GPU at one moment; None means "could not be read"."""

    graphics_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    throttle_reasons: int | None
    """NVML's bit mask of the reasons why the clock is below its maximum; 0 for none."""
    other_processes: int | None
    """Other compute processes on the device; this one already has a context there when it asks."""


class Moment(Facts):
    """State of a machine at one moment; None means "could not be read". Only differences of counters matter."""

    cpu_clock_mhz: float | None
    """Mean over the cores."""
    cpu_quota_s: float | None
    """Counter: seconds for which a CPU quota throttled the container."""
    cpu_thermal_events: int | None
    """Counter: times that heat slowed a core."""
    cpu_stolen_s: float | None
    """Counter: seconds that the host took from this virtual machine (steal time)."""
    gpu: GpuMoment | None


class Conditions(Facts):
    """State of the machine while a cell ran."""

    load: tuple[float | None, float | None]
    """One-minute load average before and after: other processes disturb a measurement."""
    before: Moment | None
    """None if the cell's process ended before it could report."""
    after: Moment | None
    seconds: float | None
    """Time between `before` and `after`."""
    gpu_clocks_mhz: tuple[int, ...]
    """Clock of the multiprocessors right after every round; empty if it cannot be read."""
    gpu_throttle_reasons: int | None
    """All throttle reasons seen right after a round, as a bit mask."""


def unknown_conditions() -> Conditions:
    """Return the conditions of a cell whose process ended before it could report."""
    return Conditions(
        load=(None, None), before=None, after=None, seconds=None, gpu_clocks_mhz=(), gpu_throttle_reasons=None
    )


def moment(device: str) -> Moment:
    """Return the current state of the machine; `device` is `cpu` or `cuda`."""
    gpu = None
    if device == "cuda":
        with nvml.current_device() as handle:
            gpu = GpuMoment(**handle.now()) if handle else None
    return Moment(
        cpu_clock_mhz=_cpu_clock(),
        cpu_quota_s=throttled_seconds(),
        cpu_thermal_events=_thermal_events(_CPU),
        cpu_stolen_s=_stolen_seconds(),
        gpu=gpu,
    )


class Watch:
    """Records the conditions from its creation until `conditions()`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._start = time.perf_counter()
        self._before = moment(device)
        self._clocks: list[int] = []
        self._reasons: int | None = None

    def note(self, loads: Iterable[Load]) -> None:
        """Record the GPU's clock after every round and why it was lowered; for a CPU, the counters suffice."""
        for load in loads:
            if load.gpu_clock_mhz is not None:
                self._clocks.append(load.gpu_clock_mhz)
            if load.gpu_reasons is not None:
                self._reasons = (self._reasons or 0) | load.gpu_reasons

    def conditions(self) -> Conditions:
        """Return what was recorded. The driver fills in the load, as it was running before this process."""
        return Conditions(
            load=(None, None),
            before=self._before,
            after=moment(self._device),
            seconds=time.perf_counter() - self._start,
            gpu_clocks_mhz=tuple(self._clocks),
            gpu_throttle_reasons=self._reasons,
        )


def _cpu_clock() -> float | None:
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, AttributeError):
        return None
    return round(frequency.current, 1) if frequency and frequency.current else None


def _thermal_events(folder: Path) -> int | None:
    counts = []
    for path in folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        try:
            counts.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return sum(counts) if counts else None


def _stolen_seconds() -> float | None:
    import psutil

    return getattr(psutil.cpu_times(), "steal", None)
