"""The precision that a model runs in, and whether a processor computes in it."""

from __future__ import annotations

import torch

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that are computed by autocast."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model of this precision runs."""
    half = HALF.get(precision)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def slow_precision(device: torch.device, precision: str) -> str:
    """Return what to say where a precision costs time instead of saving it; empty where nothing is known against it.

    A processor with AVX2 and no AVX-512 has no instructions for bfloat16 or float16 products: PyTorch emulates them.
    """
    if device.type != "cpu" or precision not in HALF or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return ""
    return (
        f"this processor has no instructions for {precision}; float32 is several times as fast here: "
        "-s precision=float32 (another recipe, in another folder)"
    )
