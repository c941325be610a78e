"""The conditions of a measurement: clocks, throttling and load, before and after it and between its rounds.

They are what a machine was like, where `bench.measure.machine` is what it is.
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
    """A GPU at one time; None is "could not be read"."""

    graphics_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    throttle_reasons: int | None
    """NVML's bit mask of the reasons why the clock is below its most; 0 is none."""
    other_processes: int | None
    """Compute processes on the device beside this one, which has a context there when it asks."""


class Moment(Facts):
    """A machine at one time; None is "could not be read"."""

    cpu_clock_mhz: float | None
    """Mean over the cores."""
    cpu_quota_s: float | None
    """Seconds so far that a quota kept the container from its processors; only differences mean something."""
    cpu_thermal_events: int | None
    """How often so far a core was slowed for its heat."""
    cpu_stolen_s: float | None
    """Seconds so far that the host of a virtual machine took from it."""
    gpu: GpuMoment | None


class Conditions(Facts):
    """What the machine was like while a cell ran."""

    load: tuple[float | None, float | None]
    """Load average of the last minute before and after: other processes disturb a measurement."""
    before: Moment | None
    """None where the cell's process did not live to say."""
    after: Moment | None
    seconds: float | None
    """Time between the two."""
    gpu_clocks_mhz: tuple[int, ...]
    """Of the multiprocessors, right after every round; empty where they cannot be read."""
    gpu_throttle_reasons: int | None
    """Every reason that was seen right after a round."""


def unknown_conditions() -> Conditions:
    """Return the conditions of a cell whose process did not live to say."""
    return Conditions(
        load=(None, None), before=None, after=None, seconds=None, gpu_clocks_mhz=(), gpu_throttle_reasons=None
    )


def moment(device: str) -> Moment:
    """Return what the machine is like now; `device` is `cpu` or `cuda`."""
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
    """Notes the conditions from its making to `conditions()`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._start = time.perf_counter()
        self._before = moment(device)
        self._clocks: list[int] = []
        self._reasons: int | None = None

    def note(self, loads: Iterable[Load]) -> None:
        """Note the GPU's clock after every round and why it was lowered; of a CPU, the counters say as much."""
        for load in loads:
            if load.gpu_clock_mhz is not None:
                self._clocks.append(load.gpu_clock_mhz)
            if load.gpu_reasons is not None:
                self._reasons = (self._reasons or 0) | load.gpu_reasons

    def conditions(self) -> Conditions:
        """Return what was seen. The load is the driver's to fill in: it was there before this process."""
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
