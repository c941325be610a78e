"""Attention as plain matrix products, a few clips at a time: the fastest for training in bfloat16 on some CPUs.

Shapes: `b` batch, `h` heads, `n` tokens, `d` width of a head; `m` clips of a portion times heads.

PyTorch's fused attention multiplies in tiles of its own, at a quarter of the rate of oneDNN's products where a
processor has AVX512_BF16 but no tile unit (AMX). Measured in bfloat16 on 16 clips with three heads of width 64, forward
and backward: 69 ms instead of 168 on 602 tokens, 9 instead of 23 on 200 (one core of an AMD EPYC, Zen 5). The scores of
a portion stay in the cache and are not kept for the backward pass, which recomputes them.

Scores are rounded to the tensors' own dtype before the softmax, whereas the fused kernels keep float32: in bfloat16, on
random tokens, the output is off by 0.9 % of its norm instead of 0.2 %. This is therefore for training: the gradient of
the embedded model on eight scenes is off by 0.8 % of its norm, against 0.7 % with the fused kernel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_PORTION = 1 << 20
"""Number of scores in a portion of clips, so that they stay in a core's cache; a clip is never divided."""


@cache
def multiplies_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 in vectors (AVX512_BF16) and has no tile unit (AMX)."""
    vectors, tiles = (
        getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile")
    )
    return bool(vectors()) and not tiles()


def can_train(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None, dropout: float) -> bool:
    """Return whether this attention needs gradients, and nothing that the products do not support."""
    return (
        torch.is_grad_enabled()
        and any(x.requires_grad for x in (q, k, v))
        and q.shape == k.shape == v.shape
        and not dropout
        and not (size is not None and size.requires_grad)
        and not torch.compiler.is_compiling()
    )


def product_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v; q, k, v: (b, h, n, d); bias: (b, n) per key, without a gradient.

    Returns (b, h, n, d). Its gradient cannot be differentiated again.
    """
    return _Products.apply(q, k, v, bias)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v, bias)
        b, h, n, _ = q.shape
        out = q.new_empty(b, n, h, v.shape[-1]).transpose(1, 2)  # (b, h, n, d), joining heads copies nothing
        with torch.autocast(q.device.type, enabled=False):
            for part in _portions(b, h, n):
                weights = _weights(q, k, bias, part)  # (m, n, n)
                out[part] = torch.bmm(weights, _flat(v[part])).unflatten(0, (-1, h))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, bias = ctx.saved_tensors
        b, h, n, d = q.shape
        grads = q.new_empty(3, b, h, n, d)
        with torch.autocast(q.device.type, enabled=False):
            for part in _portions(b, h, n):
                weights, upstream = _weights(q, k, bias, part), _flat(grad[part])  # (m, n, n), (m, n, d)
                of_weights = torch.bmm(upstream, _flat(v[part]).transpose(1, 2))  # (m, n, n)
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(d**-0.5)
                of_q, of_k, of_v = (one[part].flatten(0, 1) for one in grads)  # views
                torch.bmm(of_scores, _flat(k[part]), out=of_q)
                torch.bmm(of_scores.transpose(1, 2), _flat(q[part]), out=of_k)
                torch.bmm(weights.transpose(1, 2), upstream, out=of_v)
        of_q, of_k, of_v = grads.unbind(0)
        return of_q, of_k, of_v, None


def _weights(q: Tensor, k: Tensor, bias: Tensor | None, part: slice) -> Tensor:
    """Return the attention weights of a portion, (m, n, n)."""
    h, n = q.shape[1:3]
    queries, keys = _flat(q[part]), _flat(k[part]).transpose(1, 2)  # (m, n, d), (m, d, n)
    if bias is None:
        none = q.new_empty(()).expand(len(queries), n, n)
        scores = torch.baddbmm(none, queries, keys, beta=0, alpha=q.shape[-1] ** -0.5)
    else:
        per_key = bias[part].to(q.dtype)[:, None, None, :].expand(-1, h, n, n).flatten(0, 1)  # (m, n, n)
        scores = torch.baddbmm(per_key, queries, keys, alpha=q.shape[-1] ** -0.5)
    return scores.softmax(-1)


def _flat(one: Tensor) -> Tensor:
    """Join clips and heads, (clips, h, n, d) -> (m, n, d), contiguous."""
    return one.flatten(0, 1).contiguous()


def _portions(b: int, h: int, n: int) -> list[slice]:
    step = max(1, min(b, _PORTION // (h * n * n)))
    return [slice(first, first + step) for first in range(0, b, step)]
