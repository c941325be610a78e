"""The stages of a forward, each by the name of its kernel: in Triton, or as its plain-torch reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import torch

from fastast.engine.drop import DropNorm, drop_norm_reference


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The functions that a forward calls; each field but the last is named after its file in `fastast.kernels`."""

    patch_tokens: Callable[..., Any]
    weighted_attention: Callable[..., Any]
    key_metric: Callable[..., Any]
    best_partner: Callable[..., Any]
    merge_plan: Callable[..., Any]
    merge_norm: Callable[..., Any]
    add_norm: Callable[..., Any]
    linear_gelu: Callable[..., Any]
    drop_norm: Callable[..., Any]
    """For the slice oracle alone."""

    @property
    def names(self) -> dict[str, str]:
        """What each stage is: `triton`, or `torch` for its reference."""
        functions = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: "torch" if function.__name__.endswith("_reference") else "triton"
            for name, function in functions.items()
        }


def triton_stages(dtype: torch.dtype) -> Stages:
    """Return the Triton kernels, and where these lose by design, the reference.

    In float32 the exact product of `linear_gelu` leaves the matrix units idle: the library's product wins.
    """
    stages = {name: _load(name) for name in _KERNELS}
    if dtype not in (torch.float16, torch.bfloat16):
        stages["linear_gelu"] = _load("linear_gelu", "_reference")
    return Stages(**stages, drop_norm=DropNorm())


def reference_stages() -> Stages:
    """Return every stage in plain torch: what the engine's forward is compared with, on any device."""
    return Stages(**{name: _load(name, "_reference") for name in _KERNELS}, drop_norm=drop_norm_reference)


_KERNELS = tuple(field.name for field in fields(Stages) if field.name != "drop_norm")


def _load(name: str, suffix: str = "") -> Callable[..., Any]:
    return getattr(import_module(f"fastast.kernels.{name}"), name + suffix)
