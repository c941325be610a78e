"""Counters of this process and its machine, read before and after a timed section; only differences matter.

A counter that is not available (another system, an old kernel, a sandbox) is None, never 0.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastast.system.processors import control_groups

PROC, CPUS = Path("/proc"), Path("/sys/devices/system/cpu")
_TICKS = os.sysconf("SC_CLK_TCK")
"""Ticks per second in `/proc/stat`, usually 100: anything shorter than a tick goes unseen."""
_BUSY, _STOLEN = (0, 1, 2, 5, 6), 7
"""Columns of a line of `/proc/stat`: user, nice, system and interrupts; steal time of a virtual machine."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """All counters at one moment, in seconds unless stated otherwise."""

    clock: float
    cpu: float
    """Processor time of this process."""
    system: float
    """Kernel-mode part of `cpu`."""
    thread: float
    """Processor time of the thread that reads the counters."""
    waited: dict[str, float] | None
    """By thread of this process, how long it was runnable without a processor."""
    ran: dict[str, float] | None
    """By thread of this process, how long it ran."""
    switches: int
    """Involuntary context switches."""
    faults: int
    """Page faults."""
    major_faults: int
    """Page faults that read a disk."""
    busy: float | None
    """Busy time of the cores that this process may use, whoever used them."""
    stolen: float | None
    """Time that the host of a virtual machine took from these cores."""
    throttled: float | None
    """How long a CPU quota throttled the container."""
    pressure: dict[str, float] | None
    """Pressure stall information: how long some task of the machine waited for `cpu`, `memory` and `io`."""


def read_counters(proc: Path = PROC) -> Counters:
    """Read all counters, which takes a few tenths of a millisecond."""
    import resource

    (ran, waited), (busy, stolen) = _of_threads(proc), _of_cores(proc)
    throttled, pressure = throttled_seconds(), _pressure(proc)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Counters(
        waited=waited,
        ran=ran,
        busy=busy,
        stolen=stolen,
        throttled=throttled,
        pressure=pressure,
        switches=usage.ru_nivcsw,
        faults=usage.ru_minflt + usage.ru_majflt,
        major_faults=usage.ru_majflt,
        system=usage.ru_stime,
        cpu=time.process_time(),
        thread=time.thread_time(),
        clock=time.perf_counter(),
    )


def own_thread() -> str:
    """Return the key of the calling thread in `Counters.waited`."""
    return str(threading.get_native_id())


def throttled_seconds(groups: Iterable[Path] | None = None) -> float | None:
    """Return how long a CPU quota throttled this process's control groups; None if that cannot be read."""
    found = []
    for folder in control_groups() if groups is None else groups:
        with suppress(OSError, ValueError):
            values = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            if "throttled_usec" in values:
                found.append(int(values["throttled_usec"]) / 1e6)
            elif "throttled_time" in values:  # version 1, nanoseconds
                found.append(int(values["throttled_time"]) / 1e9)
    return max(found, default=None)


def usable_cores(cpus: Path = CPUS) -> int:
    """Return the number of physical cores that this process may use."""
    return len({_siblings(cpu, cpus) for cpu in _allowed()})


def usable_processors() -> int:
    """Return the number of logical processors that this process may use."""
    return len(_allowed())


def _of_threads(proc: Path) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """Return, by thread of this process, the seconds that it ran and those that it waited for a processor."""
    ran, waited = {}, {}
    try:
        threads = os.listdir(proc / "self" / "task")
    except OSError:
        return None, None
    for thread in threads:
        try:
            times = (proc / "self" / "task" / thread / "schedstat").read_text().split()
            ran[thread], waited[thread] = int(times[0]) / 1e9, int(times[1]) / 1e9
        except FileNotFoundError:
            if (proc / "self" / "task" / thread).exists():
                return None, None  # a kernel without scheduler statistics; else the thread has just ended
        except (OSError, ValueError, IndexError):
            return None, None
    return ran, waited


def _of_cores(proc: Path) -> tuple[float | None, float | None]:
    """Return busy and stolen seconds of the processors on the cores that this process may use."""
    wanted = {f"cpu{cpu}" for cpu in _neighbours(frozenset(_allowed()))}
    busy = stolen = 0.0
    try:
        for line in (proc / "stat").read_text().splitlines():
            name, *values = line.split()
            if name in wanted:
                busy += sum(int(values[i]) for i in _BUSY) / _TICKS
                stolen += int(values[_STOLEN]) / _TICKS
    except (OSError, ValueError, IndexError):
        return None, None
    return busy, stolen


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@cache
def _neighbours(cpus: frozenset[int]) -> frozenset[int]:
    """Return these processors and those that share a core with them, whose load slows these down."""
    return frozenset().union(*(_siblings(cpu, CPUS) for cpu in cpus))


@cache
def _siblings(cpu: int, cpus: Path) -> frozenset[int]:
    with suppress(OSError, ValueError):
        found: set[int] = set()
        for part in (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
        return frozenset(found)
    return frozenset({cpu})


def _pressure(proc: Path) -> dict[str, float] | None:
    try:
        lines = {name: (proc / "pressure" / name).read_text().splitlines()[0] for name in ("cpu", "memory", "io")}
        return {name: int(line.rpartition("total=")[2]) / 1e6 for name, line in lines.items()}
    except (OSError, ValueError, IndexError):
        return None
