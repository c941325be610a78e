"""The precision that a model runs in, and whether the processor has instructions for it."""

from __future__ import annotations

import torch

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that run under autocast, with their dtypes."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context for a precision; for float32 and float64 it is disabled."""
    half = HALF.get(precision)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def slow_precision(device: torch.device, precision: str) -> str:
    """Return a warning if a precision costs time instead of saving it here; empty if it is not known to.

    A processor with AVX2 but no AVX-512 has no instructions for bfloat16 or float16 products: PyTorch emulates them.
    """
    if device.type != "cpu" or precision not in HALF or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return ""
    return (
        f"this processor has no instructions for {precision}; float32 is several times as fast here: "
        "-s precision=float32 (another recipe, in another folder)"
    )
