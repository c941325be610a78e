"""Proportional attention, which weights tokens by their sizes, on every kernel that supports it."""

from __future__ import annotations

from fastast.attention.proportional import (
    ATTENTION_KERNELS,
    AttentionKernel,
    proportional_attention,
    resolve_kernel,
)

__all__ = ["ATTENTION_KERNELS", "AttentionKernel", "proportional_attention", "resolve_kernel"]
