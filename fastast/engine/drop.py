"""The slice oracle's stage: residual sum and norm of the first tokens, the others are never read.

Shapes: `b` batch, `n` tokens in, `p` tokens out, `d` width.

It bounds what merging can gain, so it must cost nothing by itself: the kernel is that of merging, over a plan in which
every slot has its owner and nothing merges. Cut slices would have to be copied first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.kernels.add_norm import add_norm_reference
from fastast.kernels.launch import refuse_gradients
from fastast.kernels.merge_norm import merge_norm
from fastast.kernels.merge_plan import FlatPlan


def drop_norm_reference(
    x: Tensor, y: Tensor, p: int, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the first `p` tokens of x + y and their LayerNorm, in plain torch: (b, n, d) -> (b, p, d) twice."""
    return add_norm_reference(x[:, :p], y[:, :p], weight, bias, eps)


class DropNorm:
    """Return the first `p` tokens of x + y and their LayerNorm, in one Triton kernel: (b, n, d) -> (b, p, d) twice.

    Plans depend on shapes alone. They are made once and kept as long as the engine, whose graphs hold their addresses.
    """

    __name__ = "drop_norm"

    def __init__(self) -> None:
        self._plans: dict[tuple[int, int, int, torch.device], FlatPlan] = {}

    def __call__(self, x: Tensor, y: Tensor, p: int, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """x, y: (b, n, d). Raises ValueError where gradients are asked for: those of what is dropped go unwritten."""
        refuse_gradients("drop_norm", x, y, weight, bias)
        key = (x.shape[0], x.shape[1], p, x.device)
        if key not in self._plans:
            self._plans[key] = keep_first(*key)
        total, normed, _ = merge_norm(x, y, None, self._plans[key], weight, bias, eps)
        return total, normed


def keep_first(b: int, n: int, p: int, device: torch.device) -> FlatPlan:
    """A plan whose slots are the first `p` of `n` tokens; its list of merged tokens is there and in no slot."""
    return FlatPlan(
        owner=torch.arange(p, dtype=torch.int32, device=device).expand(b, -1).contiguous(),
        start=torch.zeros(b, p + 1, dtype=torch.int32, device=device),
        source=torch.zeros(b, n - p, dtype=torch.int32, device=device),
    )
