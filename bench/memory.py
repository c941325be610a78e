"""Memory that a forward takes."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bench import records


def measure_memory(calls: Mapping[str, Callable[[], object]], device: str) -> records.Memory:
    """Return what was read and the memory of one forward of every arm; `device` is `cpu` or `cuda`."""
    if device == "cuda":
        return records.Memory(
            kind="PyTorch's CUDA allocator", arms={name: _cuda_memory(call) for name, call in calls.items()}
        )
    arms = {name: _resident_memory(call) for name, call in calls.items()}
    measured = all(arm.peak_bytes is not None for arm in arms.values())
    return records.Memory(kind="resident set of the process" if measured else "not measured", arms=arms)


def _cuda_memory(call: Callable[[], object]) -> records.ArmMemory:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return records.ArmMemory(
        before_bytes=before,
        peak_bytes=torch.cuda.max_memory_allocated(),
        reserved_bytes=torch.cuda.max_memory_reserved(),
    )


def _resident_memory(call: Callable[[], object]) -> records.ArmMemory:
    """Return the resident set before and at most while `call` runs; None where the counter cannot be set back."""
    before = peak = None
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux with glibc
        ctypes.CDLL(None).malloc_trim(0)  # what earlier arms freed is still resident
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        peak = _status("VmHWM")
    return records.ArmMemory(before_bytes=before, peak_bytes=peak, reserved_bytes=None)


def _status(name: str) -> int:
    """Return an entry of /proc/self/status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
