"""Find devices by the names that users give: `auto`, `cpu`, `cuda`, `cuda:1`."""

from __future__ import annotations

import torch

from fastast.system.processors import processor_name


def find_device(device: torch.device | str, *, what: str = "device") -> torch.device:
    """Return the device that `device` means here; `auto` is a GPU if there is one.

    Raises ValueError, whose message begins with `what`, for an unknown name or a GPU that is not here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = ", ".join(["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))])
    if device == "auto":
        return torch.device("cuda" if count else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"{what}: {device!r} is not a device; there are: {here}") from None
    if found.type == "cuda" and not count:
        raise ValueError(f"{what}: {str(found)!r} is not here, as PyTorch finds no CUDA device; there are: {here}")
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ValueError(f"{what}: {str(found)!r} is not here; there are: {here}")
    return found


def describe_device(device: torch.device) -> str:
    """Describe a device for timings: the GPU's name, or the processor, PyTorch's instruction set and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    instructions, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return f"{processor_name()} ({instructions}), {threads} thread{'s' if threads > 1 else ''}"
