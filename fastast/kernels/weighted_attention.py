"""Attention that counts each token in proportion to its size, without an (n, n) matrix in memory (ToMe, section 3.2).

Shapes: `b` batch, `n` tokens, `h` heads, `e` width of a head, `d` = h e.

softmax(Q Kᵀ / √e + log size) V in one pass over the keys with a running maximum (Dao et al. 2022, FlashAttention,
algorithm 1); exp(s + log size) is computed as size · exp(s). Queries, keys and values are read where the linear layer
left them, and the output is written in the layout that the next linear layer reads: nothing is permuted or copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastast.attention import proportional_attention
from fastast.kernels.launch import PROCESSORS, Tiling, cdiv, check_launch, dot_options, on_device, padded_width


def weighted_attention_reference(qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
    """Attend to every token in proportion to its size, in plain torch.

    qkv: (b, n, 3d), queries, keys and values of all heads. size: (b, n) float32, the number of original tokens in each,
    or None where every size is one. Returns (b, n, d). Raises ValueError where shapes do not match.
    """
    b, n, d = _check(qkv, size, num_heads)
    q, k, v = qkv.view(b, n, 3, num_heads, d // num_heads).permute(2, 0, 3, 1, 4).unbind(0)  # (b, h, n, e) each
    return proportional_attention(q, k, v, size).transpose(1, 2).reshape(b, n, d)


def weighted_attention(qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
    """Attend to every token in proportion to its size, in one Triton kernel; differentiable with respect to qkv.

    Shapes as for `weighted_attention_reference`; float16, bfloat16 or float32, summed in float32 (and float64, for
    gradient checks). Raises ValueError where shapes do not match or the device cannot run Triton.
    """
    _check(qkv, size, num_heads)
    check_launch("weighted_attention", qkv=qkv, size=size)
    qkv = qkv.contiguous()
    size = None if size is None else size.contiguous()
    if torch.is_grad_enabled() and qkv.requires_grad:
        out: Tensor = _WeightedAttention.apply(qkv, size, num_heads)
        return out
    return _forward(qkv, size, num_heads, with_lse=False)[0]


def attention_tiling(head_width: int, dtype: torch.dtype, heads: int, n: int) -> Tiling:
    """Return the tiles of the forward pass: `block_m` queries against `block_n` keys at a time.

    heads: b h, the number of heads in the batch. See docs/kernels.md for the reasons.
    """
    width = padded_width(head_width)
    if dtype.itemsize >= 4:  # no matrix units for exact float32: small tiles, which nearly fit into registers
        return Tiling(block_m=32, block_n=32, num_warps=8, num_stages=1)
    if width > 128:
        return Tiling(block_m=64, block_n=32, num_warps=4, num_stages=2)
    # Tall tiles read keys less often; a small batch needs shorter ones, to have enough programs for all processors.
    tall = heads * cdiv(n, 128) >= 2 * PROCESSORS
    if width == 128:
        return Tiling(block_m=128 if tall else 64, block_n=64, num_warps=8 if tall else 4, num_stages=2)
    return Tiling(block_m=128 if tall else 64, block_n=64, num_warps=4, num_stages=3)


class _WeightedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, size: Tensor | None, num_heads: int) -> Tensor:
        out, lse = _forward(qkv, size, num_heads, with_lse=True)
        ctx.save_for_backward(qkv, size, out, lse)
        ctx.num_heads = num_heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        from fastast.kernels.weighted_attention_backward import weighted_attention_backward

        qkv, size, out, lse = ctx.saved_tensors
        return weighted_attention_backward(grad, qkv, size, out, lse, ctx.num_heads), None, None


def _forward(qkv: Tensor, size: Tensor | None, num_heads: int, *, with_lse: bool) -> tuple[Tensor, Tensor | None]:
    """Return the output (b, n, d) and, `with_lse`, the base-2 logarithm of each row's normaliser (b, h, n)."""
    from fastast.kernels._triton.weighted_attention import attention_forward

    b, n, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    e = d // num_heads
    out = qkv.new_empty(b, n, d)
    options = dot_options(qkv.dtype)
    lse_dtype = torch.float64 if qkv.dtype == torch.float64 else torch.float32
    lse = torch.empty(b, num_heads, n, dtype=lse_dtype, device=qkv.device) if with_lse else None
    tiling = attention_tiling(e, qkv.dtype, b * num_heads, n)
    with on_device(qkv):
        attention_forward[(cdiv(n, tiling.block_m) * b * num_heads,)](
            qkv,
            qkv if size is None else size,
            out,
            out if lse is None else lse,
            n,
            H=num_heads,
            E=e,
            EP=padded_width(e),
            SCALE=e**-0.5,
            HAS_SIZE=size is not None,
            SAVE_LSE=with_lse,
            BM=tiling.block_m,
            BN=tiling.block_n,
            num_warps=tiling.num_warps,
            num_stages=tiling.num_stages,
            **options,
        )
    return out, lse


def _check(qkv: Tensor, size: Tensor | None, num_heads: int) -> tuple[int, int, int]:
    if qkv.ndim != 3 or qkv.shape[2] % (3 * num_heads):
        raise ValueError(
            f"weighted_attention: qkv has shape {tuple(qkv.shape)}; it must be (batch, tokens, 3 x width) with a width "
            f"that {num_heads} heads divide"
        )
    b, n, d3 = qkv.shape
    if b < 1 or n < 1:
        raise ValueError(f"weighted_attention: qkv has shape {tuple(qkv.shape)}; there is nothing to attend to")
    if size is not None and tuple(size.shape) != (b, n):
        raise ValueError(f"weighted_attention: size has shape {tuple(size.shape)}; it must be ({b}, {n}) like qkv")
    if size is not None and size.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"weighted_attention: size is {size.dtype}; it must be float32, half precision rounds it")
    return b, n, d3 // 3
