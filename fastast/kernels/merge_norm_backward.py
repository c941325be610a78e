"""Gradients of `merge_norm`, in one pass over the slots that writes every token's gradient once.

Shapes: `b` batch, `n` tokens in, `p` slots (tokens out), `r` merged, `d` width.

A slot's gradient is passed to each of its tokens in proportion to the token's share of the slot's size. A token belongs
to at most one slot, so no two programs write the same row, and gradients start from zeros only where the plan drops
tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.kernels.add_norm import PARTIAL_SUMS, norm_warps
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.launch import cdiv, dot_options, next_power_of_two, on_device


def merge_norm_backward(
    grad_merged: Tensor,
    grad_normed: Tensor,
    merged: Tensor,
    size: Tensor | None,
    new_size: Tensor,
    plan: FlatPlan,
    weight: Tensor,
    eps: float,
    narrow: torch.dtype | None,
) -> tuple[dict[torch.dtype, Tensor], Tensor, Tensor]:
    """Return the gradients with respect to x + y, (b, n, d), and to weight and bias, (d,) in the accumulator's dtype.

    grad_merged, grad_normed, merged: (b, p, d); size: (b, n) or None; new_size: (b, p). The first gradient is a
    dictionary by dtype: that of `merged` and, where given, `narrow`.
    """
    from fastast.kernels._triton.merge_norm_backward import merge_norm_grad

    b, p, d = merged.shape
    n, r = plan.num_tokens, plan.source.shape[1]
    made = torch.zeros if plan.drops else torch.empty  # no program writes the gradient of a token that is in no slot
    grads = {
        dtype: made(b, n, d, dtype=dtype, device=merged.device) for dtype in (merged.dtype, narrow) if dtype is not None
    }
    slots = b * p
    programs = min(PARTIAL_SUMS, slots)
    wide = torch.float64 if merged.dtype == torch.float64 else torch.float32
    partial = torch.empty(2, programs, d, dtype=wide, device=merged.device)
    with on_device(merged):
        merge_norm_grad[(programs,)](
            grad_merged.contiguous(), grad_normed.contiguous(), merged,
            new_size if size is None else size.contiguous(), new_size,
            plan.owner.contiguous(), plan.start.contiguous(), plan.source.contiguous(), weight.contiguous(),
            grads[merged.dtype], grads[narrow or merged.dtype], partial,
            n, p, r, slots, cdiv(slots, programs), programs,
            D=d, EPS=eps, HAS_SIZE=size is not None, BD=next_power_of_two(d), ACC=dot_options(merged.dtype)["ACC"],
            NARROW=narrow is not None, num_warps=norm_warps(d),
        )  # fmt: skip
    sums = partial.sum(1)  # (2, d); summed in a fixed order, unlike atomics
    return grads, sums[0], sums[1]
