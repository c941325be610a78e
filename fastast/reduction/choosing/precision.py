"""Scores that decide which tokens go are computed in float32 or wider: half precision ties tokens that differ."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which products on the device of `x` keep the type of their factors."""
    # Tensors without data have no autocast; `is_autocast_available` would break the graph of PyTorch 2.11's compiler.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def widened(x: Tensor) -> Tensor:
    """Return `x` in float32, or unchanged where it is float64."""
    return x if x.dtype == torch.float64 else x.float()
