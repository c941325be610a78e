"""Memory used by a forward pass."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.measure.machine import Facts
from fastast.system.resident import resident_bytes


class ArmMemory(Facts):
    """Memory of one forward of one arm."""

    before_bytes: int | None
    """In use before the forward: weights; on a CPU also libraries and leftovers of other arms."""
    peak_bytes: int | None
    """Peak during the forward, `before_bytes` included."""
    after_bytes: int | None
    """In use once the forward is over and its result freed: on a CPU, this includes what the allocator keeps."""
    reserved_bytes: int | None
    """Peak reserved by PyTorch's CUDA allocator; None on a CPU."""


class Memory(Facts):
    """Memory of every arm."""

    kind: str
    """Source of the numbers: CUDA's allocator, or the process's resident set (libraries and weights included)."""
    arms: dict[str, ArmMemory]


def measure_memory(calls: Mapping[str, Callable[[], object]], device: str) -> Memory:
    """Measure the memory of one forward pass of every arm; `device` is `cpu` or `cuda`."""
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
    """Return the resident set before, during (peak) and after `call`; None where the peak cannot be reset."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory freed by earlier arms is still resident
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):  # not Linux with glibc
        return ArmMemory(before_bytes=None, peak_bytes=None, after_bytes=None, reserved_bytes=None)
    before = resident_bytes("VmRSS")
    call()
    peak, after = resident_bytes("VmHWM"), resident_bytes("VmRSS")
    return ArmMemory(before_bytes=before, peak_bytes=peak, after_bytes=after, reserved_bytes=None)


_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Fragments of messages by which CPU allocators and GPU libraries report a lack of memory."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means a lack of memory.

    CUDA raises a class of its own, PyTorch's CPU allocator a RuntimeError, and NumPy a MemoryError.
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _NO_MEMORY)
