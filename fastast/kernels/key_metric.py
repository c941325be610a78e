"""The similarity metric of token merging: the mean key over heads, normalised to unit length (ToMe, arXiv 2210.09461,
section 3.1).

Shapes: `b` batch, `n` tokens, `h` heads, `e` width of a head, `d` = h e.

Keys are read where the linear layer left them, between queries and values; the result is h times smaller than they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.kernels.launch import Tiling, cdiv, check_launch, dot_options, next_power_of_two, on_device, padded_width

SMALLEST_NORM = 1e-12
"""A shorter mean key is divided by this instead of its length, as in `torch.nn.functional.normalize`: 0 stays 0."""

FEW_PROGRAMS = 264
"""Two programs for each of the 132 multiprocessors of an H100 or H200; with fewer, tiles are made smaller."""


def key_metric_reference(qkv: Tensor, num_heads: int) -> Tensor:
    """Return the mean key over heads, normalised to unit length, in plain torch.

    qkv: (b, n, 3d), queries, keys and values of all heads. Returns (b, n, e) in float32, or in float64 where qkv is
    float64: in half precision, tokens that differ would tie. Raises ValueError where the width is not divisible by the
    number of heads.
    """
    b, n, e = _check(qkv, num_heads)
    keys = qkv.view(b, n, 3, num_heads, e)[:, :, 1].to(_metric_dtype(qkv))  # (b, n, h, e)
    return F.normalize(keys.mean(2), dim=-1, eps=SMALLEST_NORM)


def key_metric(qkv: Tensor, num_heads: int) -> Tensor:
    """Return the mean key over heads, normalised to unit length, from one Triton kernel.

    Shapes and dtypes as for `key_metric_reference`. The result carries no gradient, since the choice of which tokens
    merge is not differentiable. Raises ValueError where the width is not divisible by the number of heads or the device
    cannot run Triton.
    """
    b, n, e = _check(qkv, num_heads)
    check_launch("key_metric", qkv=qkv)
    from fastast.kernels._triton.key_metric import key_metric_forward

    qkv = qkv.detach().contiguous()
    metric = torch.empty(b, n, e, dtype=_metric_dtype(qkv), device=qkv.device)
    rows = b * n
    if rows:
        tiling = key_metric_tiling(e, rows)
        with on_device(qkv):
            key_metric_forward[(cdiv(rows, tiling.block_m),)](
                qkv, metric, rows,
                H=num_heads, E=e, EP=padded_width(e), BM=tiling.block_m, SMALLEST=SMALLEST_NORM,
                ACC=dot_options(qkv.dtype)["ACC"], num_warps=tiling.num_warps, num_stages=tiling.num_stages,
            )  # fmt: skip
    return metric


def key_metric_tiling(head_width: int, rows: int) -> Tiling:
    """Return how many of the batch's `rows` tokens a program takes (`block_m`), fewer where programs would be too few.

    A thread has at most 16 numbers.
    """
    width = padded_width(head_width)
    block = max(1, min(32, 2048 // width))
    while block > 8 and cdiv(rows, block) < FEW_PROGRAMS:
        block //= 2
    warps = min(8, max(1, next_power_of_two(block * width) // 512))
    return Tiling(block_m=block, block_n=width, num_warps=warps, num_stages=1)


def _metric_dtype(qkv: Tensor) -> torch.dtype:
    return torch.float64 if qkv.dtype == torch.float64 else torch.float32


def _check(qkv: Tensor, num_heads: int) -> tuple[int, int, int]:
    if num_heads < 1:
        raise ValueError(f"key_metric: num_heads = {num_heads}; it must be at least 1")
    if qkv.ndim != 3 or qkv.shape[2] == 0 or qkv.shape[2] % (3 * num_heads):
        raise ValueError(
            f"key_metric: qkv has shape {tuple(qkv.shape)}; it must be (batch, tokens, 3 x width) with a width that "
            f"{num_heads} heads divide"
        )
    return qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3 // num_heads
