"""The most similar token of set B (odd positions) for every token of set A (even ones) (ToMe, section 3.1).

Shapes: `b` batch, `n` tokens, `a` = ceil(n / 2) tokens of A, `c` = floor(n / 2) of B, `e` width of the metric.

The kernel keeps a running maximum over tiles of B, so the (a, c) similarities are never written to memory. Protected
tokens are excluded: the first ceil(num_protected / 2) of A have similarity -inf, and the first floor(num_protected / 2)
of B are never chosen as partners.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastast.kernels.launch import Tiling, cdiv, check_launch, dot_options, on_device, padded_width

FEW_PROGRAMS = 264
"""Two programs for each of the 132 multiprocessors of an H100 or H200; with fewer, tiles are made smaller."""


def best_partner_reference(metric: Tensor, num_protected: int) -> tuple[Tensor, Tensor]:
    """Return the best similarity of every token of A and the index in B of its partner, in plain torch.

    metric: (b, n, e), vectors of unit length, float32 or float64. Returns (b, a) float32 and (b, a) int32; ties go to
    the lower index; a protected token gets -inf and partner 0. Raises ValueError for another dtype or shape.
    """
    _check(metric, num_protected)
    n = metric.shape[1]
    a, c = (n + 1) // 2, n // 2
    if c <= num_protected // 2:
        return _no_partners(metric, a)
    scores = metric[:, ::2] @ metric[:, 1::2].transpose(-1, -2)  # (b, a, c)
    outside = torch.zeros(a, c, dtype=torch.bool, device=metric.device)
    outside[: (num_protected + 1) // 2] = True
    outside[:, : num_protected // 2] = True
    best, partner = scores.masked_fill(outside, -torch.inf).max(-1)
    return best.to(torch.float32), partner.to(torch.int32)


Products = Literal["ieee", "tf32x3"]
"""How similarities are computed: in float32 without the matrix units, or on them as three tf32 products of parts."""


def best_partner(metric: Tensor, num_protected: int, *, products: Products = "ieee") -> tuple[Tensor, Tensor]:
    """Return the best similarity of every token of A and the index in B of its partner, from one Triton kernel.

    Shapes, dtypes and errors as for `best_partner_reference`. `products`: "ieee" is float32 without the matrix units;
    "tf32x3" composes each product of three on the matrix units, with an error of some 2⁻²¹, about that of another order
    of summation. Plain tf32 (2⁻¹¹), which would merge different tokens, is never used. Equal tokens tie under both. The
    results carry no gradient. Raises ValueError where the device cannot run Triton, and for unknown `products`.
    """
    _check(metric, num_protected)
    if products not in ("ieee", "tf32x3"):
        raise ValueError(f"best_partner: products = {products!r}; allowed: ieee, tf32x3")
    check_launch("best_partner", metric=metric)
    b, n, e = metric.shape
    a, c = (n + 1) // 2, n // 2
    if c <= num_protected // 2:
        return _no_partners(metric, a)
    from fastast.kernels._triton.best_partner import best_partner_forward

    metric = metric.detach().contiguous()
    best = torch.empty(b, a, dtype=torch.float32, device=metric.device)
    partner = torch.empty(b, a, dtype=torch.int32, device=metric.device)
    tiling = matching_tiling(e, metric.dtype, a, b)
    options = dot_options(metric.dtype)
    if metric.dtype == torch.float32:
        options["PRECISION"] = products
    with on_device(metric):
        best_partner_forward[(cdiv(a, tiling.block_m) * b,)](
            metric, best, partner, n, a, c, (num_protected + 1) // 2, num_protected // 2,
            E=e, EP=padded_width(e), BM=tiling.block_m, BN=tiling.block_n, ACC=options["ACC"],
            PRECISION=options["PRECISION"], num_warps=tiling.num_warps, num_stages=tiling.num_stages,
        )  # fmt: skip
    return best, partner


def matching_tiling(width: int, dtype: torch.dtype, a: int, clips: int) -> Tiling:
    """Return tiles in which `block_m` tokens of A are compared with `block_n` of B at a time.

    See docs/kernels_merging.md for the reasons.
    """
    if dtype == torch.float64 or padded_width(width) > 128:
        return Tiling(block_m=16, block_n=16, num_warps=4, num_stages=1)
    if clips * cdiv(a, 64) >= FEW_PROGRAMS:
        return Tiling(block_m=64, block_n=64, num_warps=4 if padded_width(width) <= 64 else 8, num_stages=1)
    return Tiling(block_m=16, block_n=64, num_warps=4, num_stages=1)


def _no_partners(metric: Tensor, a: int) -> tuple[Tensor, Tensor]:
    """Return -inf and partner 0 for every token: no token of B may be merged into."""
    b = metric.shape[0]
    best = torch.full((b, a), -torch.inf, dtype=torch.float32, device=metric.device)
    return best, torch.zeros(b, a, dtype=torch.int32, device=metric.device)


def _check(metric: Tensor, num_protected: int) -> None:
    if metric.ndim != 3 or 0 in metric.shape:
        raise ValueError(
            f"best_partner: the metric has shape {tuple(metric.shape)}; it must be (batch, tokens, width), "
            "each at least 1"
        )
    if metric.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"best_partner: the metric is {metric.dtype}; give float32, half precision makes false ties")
    if num_protected < 0:
        raise ValueError(f"best_partner: num_protected = {num_protected}; it must be 0 or more")
