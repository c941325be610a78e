"""The load on the machine while an arm was timed, from counters read before and after every round of every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure.counters import Counters, own_thread, read_counters
from bench.measure.machine import Facts
from bench.measure.nvml import Device

_ACTIVE = 0.02
"""Least share of a round for which a thread must run to count as active, so that others may have waited for it."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load during one round of one arm; None means "could not be read"."""

    seconds: float
    """Time between the two readings: the round and its overhead."""
    iterations: int
    threads: int
    """Threads of PyTorch."""
    active: int | None
    """Threads of this process that ran for more than a fiftieth of `seconds`."""
    own: float
    """Processors used by this process: its processor time divided by `seconds`."""
    idle: float | None
    """Share of `seconds` in which the calling thread neither ran nor waited for a processor: asleep or stopped."""
    waited: float | None
    """Time that this process's threads were runnable without a processor, summed, as a share of `seconds`."""
    others: float | None
    """Processors used by others, among the cores that this process may use."""
    stolen: float | None
    """Processors taken by the host of a virtual machine, among the same cores."""
    throttled: float | None
    """Share of `seconds` for which a CPU quota throttled the container."""
    pressure: tuple[float, float, float] | None
    """Share of `seconds` in which some task of the machine waited for a processor, for memory, for a disk."""
    switches: float
    """Involuntary context switches of this process per second."""
    faults: float
    """Page faults per iteration."""
    major_faults: int
    """Page faults that read a disk."""
    system: float
    """Kernel-mode share of this process's processor time."""
    gpu_clock_mhz: int | None
    """Clock of the multiprocessors right after the round."""
    gpu_reasons: int | None
    """NVML's bit mask of the reasons why that clock is below its maximum."""
    gpu_others: float | None
    """Share of the multiprocessors' time used by other processes, as sampled by NVML."""


class LoadColumns(Facts):
    """Loads of an arm in a record: one value per round, in the order of its samples; see `Load`."""

    active: tuple[int | None, ...]
    own: tuple[float, ...]
    idle: tuple[float | None, ...]
    waited: tuple[float | None, ...]
    others: tuple[float | None, ...]
    stolen: tuple[float | None, ...]
    throttled: tuple[float | None, ...]
    pressure: tuple[tuple[float, float, float] | None, ...]
    switches: tuple[float, ...]
    faults: tuple[float, ...]
    major_faults: tuple[int, ...]
    system: tuple[float, ...]
    gpu_clock_mhz: tuple[int | None, ...]
    gpu_reasons: tuple[int | None, ...]
    gpu_others: tuple[float | None, ...]


def load_columns(loads: Sequence[Load]) -> LoadColumns:
    """Return the loads of an arm in the form that a record stores."""
    return LoadColumns(**{name: tuple(getattr(load, name) for load in loads) for name in LoadColumns.model_fields})


class Meter:
    """Reads all counters around timed sections. Must be called by the thread that runs the arms."""

    def __init__(self, threads: int, gpu: Device | None = None) -> None:
        """`threads`: PyTorch's; `gpu`: the device that runs the arms, if it is a GPU that answers NVML."""
        self._threads, self._gpu = threads, gpu
        self._thread = own_thread()
        self._before: Counters | None = None
        if gpu is not None:
            gpu.use_of_others()  # starts its interval

    def start(self) -> None:
        """Read the counters at the start of a timed section."""
        self._before = read_counters()

    def stop(self, iterations: int) -> Load:
        """Return the load since `start`."""
        gpu = self._gpu
        clock, reasons = (gpu.graphics_clock(), gpu.throttle_reasons()) if gpu else (None, None)
        assert self._before is not None, "stop comes after start"
        after = read_counters()
        return load_between(
            self._before,
            after,
            iterations=iterations,
            threads=self._threads,
            thread=self._thread,
            gpu_clock_mhz=clock,
            gpu_reasons=reasons,
            gpu_others=gpu.use_of_others() if gpu else None,
        )


def load_between(
    before: Counters,
    after: Counters,
    *,
    iterations: int,
    threads: int,
    thread: str,
    gpu_clock_mhz: int | None = None,
    gpu_reasons: int | None = None,
    gpu_others: float | None = None,
) -> Load:
    """Return the load between two readings; `thread` is the one that read them."""
    seconds = max(after.clock - before.clock, 1e-9)
    cpu = after.cpu - before.cpu

    def rate(earlier: float | None, later: float | None) -> float | None:
        return None if earlier is None or later is None else _short((later - earlier) / seconds)

    waited, idle = None, None
    if before.waited is not None and after.waited is not None:
        grown = {name: total - before.waited.get(name, 0.0) for name, total in after.waited.items()}
        waited = _short(sum(grown.values()) / seconds)
        idle = _short(max(0.0, 1 - (after.thread - before.thread + grown.get(thread, 0.0)) / seconds))
    active = None
    if before.ran is not None and after.ran is not None:
        active = sum(total - before.ran.get(name, 0.0) > _ACTIVE * seconds for name, total in after.ran.items())
    busy = rate(before.busy, after.busy)
    pressure = None
    if before.pressure is not None and after.pressure is not None:
        shares = [_short((after.pressure[name] - before.pressure[name]) / seconds) for name in ("cpu", "memory", "io")]
        pressure = (shares[0], shares[1], shares[2])
    return Load(
        seconds=seconds,
        iterations=iterations,
        threads=threads,
        active=active,
        own=_short(cpu / seconds),
        idle=idle,
        waited=waited,
        others=None if busy is None else _short(max(0.0, busy - cpu / seconds)),
        stolen=rate(before.stolen, after.stolen),
        throttled=rate(before.throttled, after.throttled),
        pressure=pressure,
        switches=_short((after.switches - before.switches) / seconds),
        faults=_short((after.faults - before.faults) / iterations),
        major_faults=after.major_faults - before.major_faults,
        system=_short((after.system - before.system) / cpu) if cpu > 0 else 0.0,
        gpu_clock_mhz=gpu_clock_mhz,
        gpu_reasons=gpu_reasons,
        gpu_others=gpu_others,
    )


def _short(value: float) -> float:
    """Round to four digits: a record has thousands of these."""
    return float(f"{value:.4g}")
