"""Residual sum and LayerNorm in one pass over the tokens.

Shapes: `b` batch, `n` tokens, `d` width.

It reads x and y once and writes x + y and its norm once: four passes over memory where two separate operations take
five.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastast.kernels.launch import PROCESSORS, cdiv, check_launch, next_power_of_two, on_device

PARTIAL_SUMS = 8 * PROCESSORS
"""Maximum number of programs in the backward pass, each with its own partial sums of the gradients of weight and bias:
eight per multiprocessor of an H100."""


def add_norm_reference(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, normed_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return x + y and LayerNorm(x + y), in plain torch.

    x, y: (b, n, d). weight, bias: (d,). eps: added to the variance. normed_dtype: dtype of the norm, by default that of
    x + y. Raises ValueError where shapes do not match.
    """
    _check(x, y, weight, bias)
    total = x + y
    return total, F.layer_norm(total, total.shape[-1:], weight, bias, eps).to(normed_dtype or total.dtype)


def add_norm(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, normed_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return x + y and LayerNorm(x + y), from one Triton kernel; differentiable with respect to all four tensors.

    Arguments as for `add_norm_reference`. The sum has the dtype of x + y, and so has the norm unless `normed_dtype` is
    given; the sum is normalised before it is rounded. Raises ValueError where shapes do not match or the device cannot
    run Triton.
    """
    _check(x, y, weight, bias)
    check_launch("add_norm", x=x, y=y, weight=weight, bias=bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, y, weight, bias)):
        total, normed = _AddNorm.apply(x, y, weight, bias, eps, normed_dtype)
        return total, normed
    return _forward(x, y, weight, bias, eps, normed_dtype)


def norm_warps(width: int) -> int:
    """Return the warps for a row of `width` numbers, at most 8: eight numbers, 16 bytes in half precision, a thread."""
    return min(8, max(1, next_power_of_two(width) // 256))


def narrow_dtype(total: torch.dtype, x: torch.dtype, y: torch.dtype) -> torch.dtype | None:
    """Return the dtype of the first addend whose dtype differs from that of the sum, None where neither does."""
    return next((dtype for dtype in (x, y) if dtype != total), None)


def in_dtype(grads: dict[torch.dtype, Tensor], dtype: torch.dtype) -> Tensor:
    """Return the gradient in `dtype`: as the kernel wrote it, or else converted from the first of `grads`."""
    return grads[dtype] if dtype in grads else next(iter(grads.values())).to(dtype)


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, normed_dtype: torch.dtype | None
    ) -> tuple[Tensor, Tensor]:
        total, normed = _forward(x, y, weight, bias, eps, normed_dtype)
        ctx.save_for_backward(total, weight, bias)
        ctx.eps = eps
        ctx.dtypes = (x.dtype, y.dtype)
        return total, normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, grad_normed: Tensor) -> tuple[Tensor | None, ...]:
        total, weight, bias = ctx.saved_tensors
        narrow = narrow_dtype(total.dtype, *ctx.dtypes)
        grads, grad_weight, grad_bias = _backward(grad_total, grad_normed, total, weight, ctx.eps, narrow)
        return (
            in_dtype(grads, ctx.dtypes[0]),
            in_dtype(grads, ctx.dtypes[1]),
            grad_weight.to(weight.dtype),
            grad_bias.to(bias.dtype),
            None,
            None,
        )


def _forward(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, normed_dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    from fastast.kernels._triton.add_norm import add_norm_forward

    x, y = x.contiguous(), y.contiguous()
    dtype = torch.promote_types(x.dtype, y.dtype)
    total, normed = torch.empty_like(x, dtype=dtype), torch.empty_like(x, dtype=normed_dtype or dtype)
    d = x.shape[-1]
    rows = x.numel() // d
    if rows:
        with on_device(x):
            add_norm_forward[(rows,)](
                x, y, weight.contiguous(), bias.contiguous(), total, normed,
                D=d, EPS=eps, BD=next_power_of_two(d), ACC=_accumulator(total), num_warps=norm_warps(d),
            )  # fmt: skip
    return total, normed


def _backward(
    grad_total: Tensor, grad_normed: Tensor, total: Tensor, weight: Tensor, eps: float, narrow: torch.dtype | None
) -> tuple[dict[torch.dtype, Tensor], Tensor, Tensor]:
    """Return the gradients with respect to the sum (b, n, d), and to weight and bias, (d,) each.

    The first comes in the sum's dtype and, where given, in `narrow` too; the others are in the accumulator's dtype.
    """
    from fastast.kernels._triton.add_norm import add_norm_backward

    d = total.shape[-1]
    rows = total.numel() // d
    grads = {dtype: torch.empty_like(total, dtype=dtype) for dtype in (total.dtype, narrow) if dtype is not None}
    programs = max(1, min(PARTIAL_SUMS, rows))
    dtype = torch.float64 if total.dtype == torch.float64 else torch.float32
    partial = torch.empty(2, programs, d, dtype=dtype, device=total.device)
    with on_device(total):
        add_norm_backward[(programs,)](
            grad_total.contiguous(), grad_normed.contiguous(), total, weight.contiguous(),
            grads[total.dtype], grads[narrow or total.dtype], partial, rows, cdiv(rows, programs), programs,
            D=d, EPS=eps, BD=next_power_of_two(d), ACC=_accumulator(total), NARROW=narrow is not None,
            num_warps=norm_warps(d),
        )  # fmt: skip
    sums = partial.sum(1)  # (2, d); summed in a fixed order, unlike atomics
    return grads, sums[0], sums[1]


def _accumulator(x: Tensor) -> Any:
    import triton.language as tl

    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _check(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> None:
    if x.shape != y.shape or x.ndim < 2:
        raise ValueError(f"add_norm: x has shape {tuple(x.shape)} and y {tuple(y.shape)}; both must be (b, n, d)")
    width = tuple(x.shape[-1:])
    if tuple(weight.shape) != width or tuple(bias.shape) != width:
        raise ValueError(
            f"add_norm: weight has shape {tuple(weight.shape)} and bias {tuple(bias.shape)}; both must be {width}"
        )
