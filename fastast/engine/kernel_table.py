"""The kernels that a forward calls, each by the name of its file: in Triton, or as its plain-torch reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import torch


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
        """What each kernel is: `triton`, or `torch` for its reference."""
        functions = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: "torch" if function.__name__.endswith("_reference") else "triton"
            for name, function in functions.items()
        }


def triton_kernels(dtype: torch.dtype) -> KernelTable:
    """Return the Triton kernels, and where these lose by design, the reference.

    In float32 the exact product of `linear_gelu` leaves the matrix units idle: the library's product wins.
    """
    kernels = {name: _load(name) for name in _NAMES}
    if dtype not in (torch.float16, torch.bfloat16):
        kernels["linear_gelu"] = _load("linear_gelu", "_reference")
    return KernelTable(**kernels)


def reference_kernels() -> KernelTable:
    """Return every kernel in plain torch: what the engine's forward is compared with, on any device."""
    return KernelTable(**{name: _load(name, "_reference") for name in _NAMES})


_NAMES = tuple(field.name for field in fields(KernelTable))


def _load(name: str, suffix: str = "") -> Callable[..., Any]:
    return getattr(import_module(f"fastast.kernels.{name}"), name + suffix)
