"""Attention in proportion to the size of tokens, on every kernel that can do it."""

from __future__ import annotations

from fastast.attention.proportional import (
    ATTENTION_KERNELS,
    AttentionKernel,
    proportional_attention,
    resolve_kernel,
)

__all__ = ["ATTENTION_KERNELS", "AttentionKernel", "proportional_attention", "resolve_kernel"]
