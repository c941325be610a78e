"""Proportional attention over tokens that stand for several: softmax(QK^T / sqrt(d) + log size) V (ToMe, section 3.2).

Shapes: `b` batch, `h` heads, `n` tokens, `d` width of a head.

All kernels compute the same but differ in what they require of the hardware. An additive mask rules out the flash
kernels behind PyTorch's `scaled_dot_product_attention`, so sizes can instead go into extra columns of the keys or be
folded into the values; FlexAttention and FlashAttention-4 take a bias per key (`fastast.attention.flash`). A kernel is
chosen by name and never silently replaced.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.attention.flash import FLASH_KERNELS, LOG_OF_NOTHING, flash_attend
from fastast.attention.products import can_train, multiplies_bfloat16, product_attention

AttentionKernel = Literal["auto", "mask", "key_column", "value_fold", "products", "math", "flex", "flex_flash", "fa4"]
ATTENTION_KERNELS: tuple[str, ...] = get_args(AttentionKernel)

_COLUMN_PAD = 8
"""Columns added to a head, as flash kernels require a multiple of 8; sizes take one or two of them."""


def resolve_kernel(
    kernel: str, device: torch.device, dtype: torch.dtype | None = None, *, training: bool = False
) -> AttentionKernel:
    """Return the kernel that `kernel` means on `device`; `auto` is `mask` on a CPU, `key_column` elsewhere.

    For `training` in bfloat16, `auto` is `products` on a CPU that is faster with them. Raises ValueError for an unknown
    name.
    """
    if kernel not in ATTENTION_KERNELS:
        raise ValueError(f"attention: unknown kernel {kernel!r}; there are: {', '.join(ATTENTION_KERNELS)}")
    if kernel != "auto":
        return kernel  # type: ignore[return-value]
    if device.type != "cpu":
        return "key_column"  # with a mask, PyTorch runs a slower fused kernel on a GPU
    # On a CPU the fused kernel takes a mask at no cost.
    return "products" if training and dtype == torch.bfloat16 and multiplies_bfloat16() else "mask"


def proportional_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    size: Tensor | None,
    *,
    kernel: str = "auto",
    dropout: float = 0.0,
) -> Tensor:
    """Attend to every token in proportion to its size.

    q, k, v: (b, h, n, d). size: (b, n) float32, the number of original tokens in each, or None where every
    token stands for one. Returns (b, h, n, d). Raises ValueError for an unknown kernel, or for arguments that it does
    not support (such as dropout), MissingAttentionError where `flex`, `flex_flash` or `fa4` cannot run.
    """
    learns = can_train(q, k, v, size, dropout)
    name = resolve_kernel(kernel, q.device, q.dtype, training=learns)
    if name == "math":
        return _math(q, k, v, size, dropout)
    if dropout and name in (*FLASH_KERNELS, "products"):
        raise ValueError(f"attention: {name!r} has no dropout, but dropout is {dropout}; choose 'auto', or dropout 0")
    if dropout and name == "value_fold" and size is not None:
        raise ValueError("attention: 'value_fold' would drop what it divides by; choose 'auto', or dropout 0")
    if name in FLASH_KERNELS:
        return flash_attend(name, q, k, v, size)
    if name == "products":
        return _products(q, k, v, size)
    if size is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    if name == "mask":
        return _mask(q, k, v, size, dropout)
    if name == "key_column":
        return _key_column(q, k, v, size, dropout)
    return _value_fold(q, k, v, size, dropout)


def _math(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None, dropout: float) -> Tensor:
    """Compute the definition, with the (n, n) matrix in memory."""
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])  # (b, h, n, n)
    if size is not None:
        scores = scores + _log(size, q)[:, None, None, :]
    weights = scores.softmax(dim=-1).to(v.dtype)
    return F.dropout(weights, dropout) @ v  # (b, h, n, d)


def _products(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None) -> Tensor:
    """Add log size to the scores in the product that computes them."""
    if size is not None and size.requires_grad and torch.is_grad_enabled():
        raise ValueError("attention: 'products' passes no gradient to sizes; choose 'auto'")
    if not q.shape == k.shape == v.shape:
        raise ValueError("attention: 'products' takes as many queries as keys; choose 'auto'")
    return product_attention(q, k, v, None if size is None else _log(size, q))


def _mask(q: Tensor, k: Tensor, v: Tensor, size: Tensor, dropout: float) -> Tensor:
    """Add log size as a mask, shared by heads and queries."""
    mask = _log(size, q).to(q.dtype)[:, None, None, :]  # (b, 1, 1, n)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def _key_column(q: Tensor, k: Tensor, v: Tensor, size: Tensor, dropout: float) -> Tensor:
    """Put log size into two more columns of the keys, and sqrt(d) into the matching columns of the queries.

    Two, because a single half-precision number would put a weight off by up to 2 % at a size of 300; the second holds
    what the first one lost.
    """
    d = q.shape[-1]
    # A token of size 0 weighs nothing at any number this low; minus infinity would leave NaN in the second column.
    log_size = _log(size, q).clamp_min(LOG_OF_NOTHING)[:, None, :, None].expand(*k.shape[:-1], 1)  # (b, h, n, 1)
    high = log_size.to(k.dtype)
    low = (log_size - high).to(k.dtype)
    scale = q.new_full((1,), math.sqrt(d)).expand(*q.shape[:-1], 2)
    q = F.pad(torch.cat([q, scale], -1), (0, _COLUMN_PAD - 2))  # (b, h, n, d + 8)
    k = F.pad(torch.cat([k, high, low], -1), (0, _COLUMN_PAD - 2))  # (b, h, n, d + 8)
    v = F.pad(v, (0, _COLUMN_PAD))  # flash kernels require the same width for q, k and v
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=d**-0.5)
    return out[..., :d]


def _value_fold(q: Tensor, k: Tensor, v: Tensor, size: Tensor, dropout: float) -> Tensor:
    """Run plain attention over [size * v, size]; the last column is the normaliser to divide by."""
    d = q.shape[-1]
    weight = size.to(v.dtype)[:, None, :, None]
    folded = torch.cat([v * weight, weight.expand(*v.shape[:-1], 1)], -1)  # (b, h, n, d + 1)
    q, k = F.pad(q, (0, _COLUMN_PAD)), F.pad(k, (0, _COLUMN_PAD))
    folded = F.pad(folded, (0, _COLUMN_PAD - 1))  # (b, h, n, d + 8)
    out = F.scaled_dot_product_attention(q, k, folded, dropout_p=dropout, scale=d**-0.5)
    return out[..., :d] / out[..., d : d + 1]


def _log(size: Tensor, like: Tensor) -> Tensor:
    """Return log size in float32 or wider: half precision would lose too much of it."""
    return (size.double() if like.dtype == torch.float64 else size).log()
