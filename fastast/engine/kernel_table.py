"""The kernels that a forward calls, each named after its file: in Triton, or as its plain-torch reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import torch

from fastast.attention.flash import fa4_weighted_attention


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """The functions that a forward calls; each field is named after its file in `fastast.kernels`."""

    patch_tokens: Callable[..., Any]
    weighted_attention: Callable[..., Any]
    key_metric: Callable[..., Any]
    best_partner: Callable[..., Any]
    merge_plan: Callable[..., Any]
    merge_norm: Callable[..., Any]
    add_norm: Callable[..., Any]
    linear_gelu: Callable[..., Any]

    @property
    def names(self) -> dict[str, str]:
        """What each kernel runs on: `triton`, `torch` for its reference, or `fa4` for FlashAttention-4."""
        return {field.name: _runs_on(getattr(self, field.name).__name__) for field in fields(self)}


def triton_kernels(dtype: torch.dtype, attention: str = "auto") -> KernelTable:
    """Return the Triton kernels, or the reference of a kernel that is slower by design.

    In float32, the exact product of `linear_gelu` leaves the matrix units idle, and the library's product is faster.
    `attention` "fa4" uses FlashAttention-4 instead of FastAST's own attention kernel.
    """
    kernels = {name: _load(name) for name in _NAMES}
    if attention == "fa4":
        kernels["weighted_attention"] = fa4_weighted_attention
    if dtype not in (torch.float16, torch.bfloat16):
        kernels["linear_gelu"] = _load("linear_gelu", "_reference")
    return KernelTable(**kernels)


def reference_kernels() -> KernelTable:
    """Return every kernel's plain-torch reference, which the engine's forward is compared with, on any device."""
    return KernelTable(**{name: _load(name, "_reference") for name in _NAMES})


def _runs_on(function: str) -> str:
    return "torch" if function.endswith("_reference") else "fa4" if function.startswith("fa4_") else "triton"


_NAMES = tuple(field.name for field in fields(KernelTable))


def _load(name: str, suffix: str = "") -> Callable[..., Any]:
    return getattr(import_module(f"fastast.kernels.{name}"), name + suffix)
