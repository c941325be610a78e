"""Linear layer and exact GELU in one kernel: GELU(x Wᵀ + b), the first half of a transformer's MLP.

Shapes: `m` rows (all leading dimensions together), `d` width in, `o` width out.

GELU(z) = z (1 + erf(z / √2)) / 2 (Hendrycks & Gimpel 2016, section 2) is applied to the float32 sums before they are
rounded and written, so the (m, o) matrix crosses memory once instead of three times. It is exact GELU, to within 3e-7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.kernels.launch import PROCESSORS, Tiling, cdiv, check_launch, dot_options, on_device, refuse_gradients

GROUP = 8
"""Row tiles that go through the weight's columns together before the next ones start: what they read stays in L2."""


def linear_gelu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return exact GELU of x Wᵀ + b, in plain torch. x: (..., d), weight: (o, d), bias: (o,). Returns (..., o)."""
    _check(x, weight, bias)
    return F.gelu(F.linear(x, weight, bias))


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return exact GELU of x Wᵀ + b, from one Triton kernel; for inference.

    x: (..., d), weight: (o, d), bias: (o,), all of one dtype. Returns (..., o). Sums are in float32 or, for float64, in
    float64. Raises ValueError where shapes or dtypes do not match, the device cannot run Triton, or a tensor requires
    gradients.
    """
    _check(x, weight, bias)
    check_launch("linear_gelu", x=x, weight=weight, bias=bias)
    refuse_gradients("linear_gelu", x, weight, bias)
    from fastast.kernels._triton.linear_gelu import linear_gelu_forward

    o, d = weight.shape
    rows = x.reshape(-1, d).contiguous()  # (m, d)
    m = rows.shape[0]
    out = x.new_empty(*x.shape[:-1], o)
    if m == 0:
        return out
    tiling = linear_tiling(m, o, x.dtype)
    with on_device(x):
        linear_gelu_forward[(cdiv(m, tiling.block_m) * cdiv(o, tiling.block_n),)](
            rows, weight.contiguous(), bias.contiguous(), out, m, cdiv(d, tiling.block_k),
            O=o, D=d, BM=tiling.block_m, BN=tiling.block_n, BK=tiling.block_k, GROUP=GROUP,
            num_warps=tiling.num_warps, num_stages=tiling.num_stages, **dot_options(x.dtype),
        )  # fmt: skip
    return out


def linear_tiling(m: int, o: int, dtype: torch.dtype) -> Tiling:
    """Return the matrix product's tiles: (m, o) outputs in `block_m` x `block_n`; docs/kernels.md gives the reasons."""
    if dtype.itemsize >= 4:
        return Tiling(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=2)
    # The larger a tile, the less often x and weight are read, but every processor needs one.
    if cdiv(m, 128) * cdiv(o, 256) >= 2 * PROCESSORS:
        return Tiling(block_m=128, block_n=256, block_k=64, num_warps=8, num_stages=3)
    if cdiv(m, 128) * cdiv(o, 128) >= PROCESSORS:
        return Tiling(block_m=128, block_n=128, block_k=64, num_warps=8, num_stages=3)
    return Tiling(block_m=64, block_n=128, block_k=64, num_warps=4, num_stages=3)


def _check(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1] or tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(
            f"linear_gelu: x has shape {tuple(x.shape)}, weight {tuple(weight.shape)}, bias {tuple(bias.shape)}; "
            "they must be (..., d), (o, d) and (o,)"
        )
    if not x.dtype == weight.dtype == bias.dtype:
        raise ValueError(f"linear_gelu: x is {x.dtype}, weight {weight.dtype}, bias {bias.dtype}; they must be equal")
