"""Triton kernels for token merging on a GPU, each with a plain-torch reference.

Each kernel has its own file with two functions: `<name>`, which launches Triton, and `<name>_reference`, the same in
plain torch, differentiable and for any device. The device code is in `_triton/<name>.py`, which is imported when a
kernel is first launched, so this package can be imported where Triton is not installed.

Shapes: `b` batch, `n` tokens in, `p` tokens out, `r` merged, `h` heads, `e` width of a head, `d` = h e width.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

MINIMUM_CAPABILITY = (8, 0)
"""Lowest compute capability the kernels are written for: the first with bfloat16 matrix units."""


def interpreted() -> bool:
    """Return whether Triton interprets its kernels in Python on the CPU (environment variable TRITON_INTERPRET)."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in {"1", "true", "on", "yes", "y"}


def why_not(device: torch.device | str) -> str:
    """Return the reason why the kernels cannot run on `device`, as a sentence; an empty string where they can."""
    device = torch.device(device)
    if find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    if interpreted():
        return ""
    if device.type != "cuda":
        return f"Triton has no code for a {device.type} device (TRITON_INTERPRET=1 runs the kernels slowly, for tests)"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability < MINIMUM_CAPABILITY:
        need = ".".join(map(str, MINIMUM_CAPABILITY))
        have = ".".join(map(str, capability))
        return f"{torch.cuda.get_device_name(device)} has compute capability {have}; the kernels need {need} or newer"
    return ""


def available(device: torch.device | str) -> bool:
    """Return whether the kernels can run on `device`; `why_not` gives the reason where they cannot."""
    return not why_not(device)
