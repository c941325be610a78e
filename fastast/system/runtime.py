"""What surrounds every operation on a CPU: its threads, how they wait, what becomes of freed memory, denormals.

None of it changes a result beyond rounding, and each of it changes how long one takes. Commands and the workers of the
harness call `set_up`; a program of yours may. `import fastast` sets nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastast.system.allocator import MemoryPolicy, allocator_name, chosen_memory, keep_memory, kept_by
from fastast.system.processors import affinity, cpu_quota, usable_threads

WAITING = {"GOMP_SPINCOUNT": "1000"}
"""How a thread of GNU's OpenMP, which PyTorch comes with on Linux, waits for the others of its operation: some turns of
a loop, and then asleep. GNU's own 300,000 turns take milliseconds, in which it holds a processor that the thread it
waits for may need; none at all costs every short operation as much again. Intel's and LLVM's give way by themselves."""
_CHOICES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", *WAITING)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What was set up, as a record tells it."""

    threads: int
    """Threads of PyTorch."""
    affinity: int
    """Logical processors that this process may run on."""
    quota: float | None
    """Processors' worth of time that its container gets; None without a quota."""
    openmp: str | None
    """Library that runs the threads: `libgomp`, `libiomp5`, `libomp`; None where it cannot be told."""
    waiting: dict[str, str]
    """Variables of the environment that say how its threads wait."""
    allocator: str
    """Name, and version where it tells it: `glibc 2.36`."""
    memory: MemoryPolicy
    memory_settings: str
    """What made it so; empty where nothing did."""
    flush_denormals: bool
    """Whether numbers below the smallest normal one become 0, as `torch.set_flush_denormal` and some libraries set."""
    huge_pages: str | None
    """Linux's setting of transparent huge pages: `always`, `madvise`, `never`."""


def set_up(*, threads: int | None = None, memory: MemoryPolicy = "kept") -> None:
    """Set waiting, threads and allocator of this process; call it before PyTorch is imported, or threads wait as ever.

    Without `threads`, PyTorch keeps its own number where affinity and quota allow it, and gets `usable_threads` where
    they do not. What the environment chooses (`OMP_NUM_THREADS`, `OMP_WAIT_POLICY`, `MALLOC_...`) stays.
    """
    wait_briefly()
    if memory == "kept":
        keep_memory()
    import torch

    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_threads()))


def describe_runtime() -> Runtime:
    """Return what this process runs with."""
    import torch

    return Runtime(
        threads=torch.get_num_threads(),
        affinity=affinity(),
        quota=cpu_quota(),
        openmp=_openmp(),
        waiting={name: os.environ[name] for name in _CHOICES if name in os.environ},
        allocator=allocator_name(),
        memory="kept" if kept_by() else "system",
        memory_settings=kept_by() or chosen_memory(),
        flush_denormals=_flushes_denormals(),
        huge_pages=_huge_pages(),
    )


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads sleep soon where they wait, unless the environment chooses, or PyTorch has read it already."""
    if "torch" not in sys.modules and not any(name in environment for name in _CHOICES):
        environment.update(WAITING)


def _openmp() -> str | None:
    with suppress(OSError):
        text = Path("/proc/self/maps").read_text()
        return next((name for name in ("libiomp5", "libomp", "libgomp") if f"/{name}" in text), None)
    return None


def _flushes_denormals() -> bool:
    smallest = [sys.float_info.min]  # a list, so that nothing is computed when this is compiled
    return smallest[0] / 2 == 0.0


def _huge_pages() -> str | None:
    with suppress(OSError, IndexError):
        return Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().split("[")[1].split("]")[0]
    return None
