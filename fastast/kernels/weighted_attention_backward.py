"""Backward pass of weighted attention: two kernels without atomics, so every run gives equal bits.

Shapes: `b` batch, `n` tokens, `h` heads, `e` width of a head, `d` = h e.

The attention weights are recomputed from the saved normalisers (Dao et al. 2022, FlashAttention, algorithm 4). One
kernel loops over keys and sums dQ, computing Δ = Σ out · grad on the way; the other loops over queries and sums dK and
dV. Both write into one buffer laid out like qkv, as the backward pass of the linear layer reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.kernels.launch import Tiling, cdiv, dot_options, on_device, padded_width


def weighted_attention_backward(
    grad: Tensor, qkv: Tensor, size: Tensor | None, out: Tensor, lse: Tensor, num_heads: int
) -> Tensor:
    """Return the gradient with respect to qkv, (b, n, 3d). grad, out: (b, n, d), lse: (b, h, n) in base 2."""
    from fastast.kernels._triton.weighted_attention_backward import attention_grad_kv, attention_grad_q

    b, n, d = out.shape
    e = d // num_heads
    grad = grad.contiguous()
    grad_qkv = torch.empty_like(qkv)
    delta = torch.empty_like(lse)
    for kernel, tiling in ((attention_grad_q, grad_q_tiling), (attention_grad_kv, grad_kv_tiling)):
        tiles = tiling(e, qkv.dtype)
        with on_device(qkv):
            kernel[(cdiv(n, tiles.block_m) * b * num_heads,)](
                qkv,
                qkv if size is None else size,
                out,
                grad,
                lse,
                delta,
                grad_qkv,
                n,
                H=num_heads,
                E=e,
                EP=padded_width(e),
                SCALE=e**-0.5,
                HAS_SIZE=size is not None,
                BM=tiles.block_m,
                BN=tiles.block_n,
                num_warps=tiles.num_warps,
                num_stages=tiles.num_stages,
                **dot_options(qkv.dtype),
            )
    return grad_qkv


def grad_q_tiling(head_width: int, dtype: torch.dtype) -> Tiling:
    """Return the tiles of the pass that sums dQ: `block_m` queries against `block_n` keys at a time."""
    if dtype.itemsize >= 4 or padded_width(head_width) > 128:
        return Tiling(block_m=32, block_n=32, num_warps=8, num_stages=1)
    if padded_width(head_width) == 128:
        return Tiling(block_m=64, block_n=32, num_warps=4, num_stages=2)
    return Tiling(block_m=128, block_n=64, num_warps=8, num_stages=2)


def grad_kv_tiling(head_width: int, dtype: torch.dtype) -> Tiling:
    """Return the tiles of the pass that sums dK and dV: `block_m` keys against `block_n` queries at a time."""
    if dtype.itemsize >= 4 or padded_width(head_width) > 128:
        return Tiling(block_m=32, block_n=32, num_warps=8, num_stages=1)
    if padded_width(head_width) == 128:
        return Tiling(block_m=64, block_n=32, num_warps=4, num_stages=2)
    return Tiling(block_m=128, block_n=64, num_warps=8, num_stages=2)
