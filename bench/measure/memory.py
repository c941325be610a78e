"""Memory that a forward takes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.measure.machine import Facts
from fastast.system.resident import resident_bytes


class ArmMemory(Facts):
    """Memory of one forward of one arm."""

    before_bytes: int | None
    """Taken before the forward: weights, on a CPU also libraries and what other arms left."""
    peak_bytes: int | None
    """The most taken at any time of the forward, `before_bytes` included."""
    after_bytes: int | None
    """Taken when the forward is over and its result freed: on a CPU what the allocator keeps shows here."""
    reserved_bytes: int | None
    """The most that PyTorch's CUDA allocator held; None on a CPU."""


class Memory(Facts):
    """Memory of every arm."""

    kind: str
    """What was read: CUDA's allocator, or the process's peak resident set (libraries and weights included)."""
    arms: dict[str, ArmMemory]


def measure_memory(calls: Mapping[str, Callable[[], object]], device: str) -> Memory:
    """Return what was read and the memory of one forward of every arm; `device` is `cpu` or `cuda`."""
    if device == "cuda":
        return Memory(kind="PyTorch's CUDA allocator", arms={name: _cuda_memory(call) for name, call in calls.items()})
    arms = {name: _resident_memory(call) for name, call in calls.items()}
    measured = all(arm.peak_bytes is not None for arm in arms.values())
    return Memory(kind="resident set of the process" if measured else "not measured", arms=arms)


def _cuda_memory(call: Callable[[], object]) -> ArmMemory:
    import torch

    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return ArmMemory(
        before_bytes=before,
        peak_bytes=torch.cuda.max_memory_allocated(),
        after_bytes=torch.cuda.memory_allocated(),
        reserved_bytes=torch.cuda.max_memory_reserved(),
    )


def _resident_memory(call: Callable[[], object]) -> ArmMemory:
    """Return the resident set before and at most while `call` runs; None where the counter cannot be set back."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier arms freed is still resident
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):  # another system than Linux with glibc
        return ArmMemory(before_bytes=None, peak_bytes=None, after_bytes=None, reserved_bytes=None)
    before = resident_bytes("VmRSS")
    call()
    peak, after = resident_bytes("VmHWM"), resident_bytes("VmRSS")
    return ArmMemory(before_bytes=before, peak_bytes=peak, after_bytes=after, reserved_bytes=None)


_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""As allocators of the CPU and libraries of the GPU say it."""


def is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own class; PyTorch's allocator for the CPU a RuntimeError, NumPy's a MemoryError."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _NO_MEMORY)
