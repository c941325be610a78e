"""Residual sum, size-weighted merging and LayerNorm in one pass over the tokens (ToMe, section 3.1).

Shapes: `b` batch, `n` tokens in, `p` slots (tokens out), `r` merged, `d` width.

One program per slot reads the owner and the tokens that merge into it, and writes the mean and its norm: no atomics, so
equal inputs give equal bits, and no more traffic than the residual sum and the norm need without merging.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastast.kernels.add_norm import in_dtype, narrow_dtype, norm_warps
from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.launch import check_launch, dot_options, next_power_of_two, on_device
from fastast.reduction.combine import Combine

SOURCES_AT_ONCE = 4
"""Merged tokens that a program reads at a time. Tokens of silence are alike, so all of them may merge into one slot."""


def merge_norm_reference(
    x: Tensor,
    y: Tensor,
    size: Tensor | None,
    plan: FlatPlan,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    normed_dtype: torch.dtype | None = None,
    *,
    combine: Combine = "size",
) -> tuple[Tensor, Tensor, Tensor]:
    """Average x + y over every slot and normalise the mean, in plain torch.

    x, y: (b, n, d). size: (b, n) float32, or None (all ones). weight, bias: (d,). eps: added to the variance.
    normed_dtype: dtype of the norm, by default that of x + y. combine: how the tokens of a slot become one. Returns the
    means (b, p, d), their LayerNorm (b, p, d) and the slots' sizes (b, p), float32. Raises ValueError where shapes do
    not match.
    """
    _check(x, y, size, plan, weight, bias)
    merged, new_size = plan.to_merge_plan().merge(x + y, size, combine)
    assert new_size is not None
    normed = F.layer_norm(merged, merged.shape[-1:], weight, bias, eps)
    return merged, normed.to(normed_dtype or merged.dtype), new_size


def merge_norm(
    x: Tensor,
    y: Tensor,
    size: Tensor | None,
    plan: FlatPlan,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    normed_dtype: torch.dtype | None = None,
    *,
    combine: Combine = "size",
) -> tuple[Tensor, Tensor, Tensor]:
    """Average x + y over every slot and normalise the mean, in one Triton kernel.

    Arguments as for `merge_norm_reference`; differentiable with respect to x, y, weight and bias, except with
    combine="norm". Means have the dtype of x + y, and so have their norms unless `normed_dtype` is given; sums are in
    float32 or, for float64, in float64, and the mean is normalised before it is rounded. Raises ValueError where shapes
    do not match, the device cannot run Triton, or combine="norm" meets a tensor that requires gradients.
    """
    _check(x, y, size, plan, weight, bias)
    check_launch("merge_norm", x=x, y=y, size=size, weight=weight, bias=bias)
    slots = plan.owners_alone() if combine == "keep" else plan
    # The kernel weights tokens by `mass` and returns its sum per slot, which is the slot's size where `mass` is size.
    by_size = slots.weight is None and combine in ("size", "norm")
    mass = size if by_size else slots.weight
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, y, weight, bias)):
        if combine == "norm":
            raise ValueError("merge_norm: combine='norm' has no backward pass; train with merge_norm_reference")
        merged, normed, total = _MergeNorm.apply(
            x, y, mass, slots.owner, slots.start, slots.source, weight, bias, eps, normed_dtype, slots.drops
        )  # fmt: skip
    else:
        merged, normed, total = _forward(x, y, mass, slots, weight, bias, eps, normed_dtype, combine == "norm")
    if by_size or (size is None and combine == "mean" and plan.weight is None):
        return merged, normed, total
    return merged, normed, plan.sum(torch.ones(x.shape[:2], device=x.device) if size is None else size)


class _MergeNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, size: Tensor | None, owner: Tensor, start: Tensor, source: Tensor,
        weight: Tensor, bias: Tensor, eps: float, normed_dtype: torch.dtype | None, drops: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        plan = FlatPlan(owner=owner, start=start, source=source, drops=drops)
        merged, normed, new_size = _forward(x, y, size, plan, weight, bias, eps, normed_dtype)
        ctx.mark_non_differentiable(new_size)
        ctx.save_for_backward(merged, size, new_size, owner, start, source, weight, bias)
        ctx.eps, ctx.drops = eps, drops
        ctx.dtypes = (x.dtype, y.dtype)
        return merged, normed, new_size

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_merged: Tensor, grad_normed: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        from fastast.kernels.merge_norm_backward import merge_norm_backward

        merged, size, new_size, owner, start, source, weight, bias = ctx.saved_tensors
        plan = FlatPlan(owner=owner, start=start, source=source, drops=ctx.drops)
        narrow = narrow_dtype(merged.dtype, *ctx.dtypes)
        grads, grad_weight, grad_bias = merge_norm_backward(
            grad_merged, grad_normed, merged, size, new_size, plan, weight, ctx.eps, narrow
        )
        x_dtype, y_dtype = ctx.dtypes
        none = None
        return (
            in_dtype(grads, x_dtype), in_dtype(grads, y_dtype), none, none, none, none,
            grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), none, none, none,
        )  # fmt: skip


def _forward(
    x: Tensor,
    y: Tensor,
    size: Tensor | None,
    plan: FlatPlan,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    normed_dtype: torch.dtype | None,
    as_long: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    from fastast.kernels._triton.merge_norm import merge_norm_forward

    x, y = x.contiguous(), y.contiguous()
    b, n, d = x.shape
    p, r = plan.num_slots, plan.source.shape[1]
    dtype = torch.promote_types(x.dtype, y.dtype)
    merged = torch.empty(b, p, d, dtype=dtype, device=x.device)
    normed = torch.empty_like(merged, dtype=normed_dtype or dtype)
    new_size = torch.empty(b, p, dtype=torch.float32 if size is None else size.dtype, device=x.device)
    with on_device(x):
        merge_norm_forward[(b * p,)](
            x, y, new_size if size is None else size.contiguous(),
            plan.owner.contiguous(), plan.start.contiguous(), plan.source.contiguous(),
            weight.contiguous(), bias.contiguous(), merged, normed, new_size, n, p, r,
            D=d, EPS=eps, HAS_SIZE=size is not None, AS_LONG=as_long, BD=next_power_of_two(d), U=SOURCES_AT_ONCE,
            ACC=dot_options(dtype)["ACC"], num_warps=norm_warps(d),
        )  # fmt: skip
    return merged, normed, new_size


def _check(x: Tensor, y: Tensor, size: Tensor | None, plan: FlatPlan, weight: Tensor, bias: Tensor) -> None:
    if x.ndim != 3 or x.shape != y.shape or 0 in x.shape:
        raise ValueError(
            f"merge_norm: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; both must be (b, n, d), each at least 1"
        )
    b, n, d = x.shape
    if tuple(weight.shape) != (d,) or tuple(bias.shape) != (d,):
        raise ValueError(
            f"merge_norm: weight has shape {tuple(weight.shape)} and bias {tuple(bias.shape)}; both must be ({d},)"
        )
    if size is not None and (tuple(size.shape) != (b, n) or size.dtype not in (torch.float32, torch.float64)):
        raise ValueError(
            f"merge_norm: size is {size.dtype} of shape {tuple(size.shape)}; it must be float32 of ({b}, {n}): "
            "bfloat16 loses integers above 256"
        )
    shapes = tuple(plan.owner.shape), tuple(plan.start.shape), tuple(plan.source.shape)
    p = plan.num_slots
    if shapes != ((b, p), (b, p + 1), (b, n - p)):
        raise ValueError(
            f"merge_norm: the plan is for {plan.owner.shape[0]} clips of {plan.num_tokens} tokens, x has {b} of {n}"
        )
    if plan.weight is not None and tuple(plan.weight.shape) != (b, n):
        raise ValueError(
            f"merge_norm: the plan's weights have shape {tuple(plan.weight.shape)}; they must be ({b}, {n})"
        )
    if any(part.dtype != torch.int32 or part.device != x.device for part in (plan.owner, plan.start, plan.source)):
        raise ValueError(f"merge_norm: the plan must be int32 on {x.device}, as merge_plan returns it")
