"""Settings around every operation on a CPU: its threads, how they wait, what happens to freed memory, denormals.

None of them changes a result beyond rounding, but each changes how long one takes. Commands and the harness's workers
call `set_up`, and your own program may call it, too. `import fastast` sets nothing.
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
"""How a thread of GNU's OpenMP, which PyTorch uses on Linux, waits for the other threads of its operation: it spins
briefly, then sleeps. GNU's default of 300,000 spins takes milliseconds, during which the thread occupies a processor
that the thread it waits for may need; no spinning at all doubles the time of every short operation. Intel's and LLVM's
threads yield by themselves."""
_CHOICES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", *WAITING)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The settings of this process, as records store them."""

    threads: int
    """Number of PyTorch threads."""
    affinity: int
    """Number of logical processors that this process may run on."""
    quota: float | None
    """CPU time that its container gets, in processors; None without a quota."""
    openmp: str | None
    """OpenMP library that runs the threads: `libgomp`, `libiomp5` or `libomp`; None if unknown."""
    waiting: dict[str, str]
    """Environment variables that determine how its threads wait."""
    allocator: str
    """Name of the allocator, with its version if known, such as `glibc 2.36`."""
    memory: MemoryPolicy
    """What happens to freed memory."""
    memory_settings: str
    """Settings of the allocator, by FastAST or else by the environment; empty if there are none."""
    flush_denormals: bool
    """Whether numbers below the smallest normal one become 0, as `torch.set_flush_denormal` and some libraries set."""
    huge_pages: str | None
    """Linux's setting of transparent huge pages: `always`, `madvise` or `never`; None if unknown."""


def set_up(*, threads: int | None = None, memory: MemoryPolicy = "kept") -> None:
    """Set how threads wait, their number, and the allocator of this process.

    Call it before importing PyTorch, or threads wait as they would without it. Without `threads`, PyTorch keeps its own
    number of threads (that of `OMP_NUM_THREADS`, if set), up to `usable_threads`. What the environment says about
    waiting and the allocator (`OMP_WAIT_POLICY`, `MALLOC_...`) stays.
    """
    wait_briefly()
    if memory == "kept":
        keep_memory()
    import torch

    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_threads()))


def describe_runtime() -> Runtime:
    """Return the settings that this process runs with."""
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
    """Let waiting threads sleep soon, unless the environment says otherwise or PyTorch has been imported already."""
    if "torch" not in sys.modules and not any(name in environment for name in _CHOICES):
        environment.update(WAITING)


def _openmp() -> str | None:
    with suppress(OSError):
        text = Path("/proc/self/maps").read_text()
        return next((name for name in ("libiomp5", "libomp", "libgomp") if f"/{name}" in text), None)
    return None


def _flushes_denormals() -> bool:
    smallest = [sys.float_info.min]  # a list, so that Python does not compute the quotient at compile time
    return smallest[0] / 2 == 0.0


def _huge_pages() -> str | None:
    with suppress(OSError, IndexError):
        return Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().split("[")[1].split("]")[0]
    return None
