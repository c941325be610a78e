"""The weights of a host under the engine's names, however the host names and splits them.

Shapes: `p` side of a patch, `q` prefix tokens, `n` tokens, `d` width.

They are made from the model's parameters by differentiable operations; copying them is left to the engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LinearLayer:
    """A linear layer."""

    weight: Tensor
    """(out, in)."""
    bias: Tensor | None
    """(out,)."""


@dataclass(frozen=True, kw_only=True)
class NormLayer:
    """A LayerNorm."""

    weight: Tensor
    """(d,)."""
    bias: Tensor
    """(d,)."""
    eps: float


@dataclass(frozen=True, kw_only=True)
class BlockLayers:
    """One transformer block; layer scales are folded into `proj` and `fc2`."""

    norm1: NormLayer
    qkv: LinearLayer
    """Weight (3d, d): queries, keys and values, each of them head by head."""
    proj: LinearLayer
    norm2: NormLayer
    fc1: LinearLayer
    fc2: LinearLayer


@dataclass(frozen=True, kw_only=True)
class EndLayers:
    """The layers before and after the blocks."""

    patch: LinearLayer
    """Weight (d, 1, p, p), frequency before time."""
    stride: tuple[int, int]
    """Steps between patches along frequency and time."""
    prefix: Tensor
    """(q, d), the prefix tokens in order."""
    pos_embed: Tensor
    """(1, n, d), zero where a prefix token has no position."""
    norm: NormLayer | None
    """Norm of all tokens after the last block; None without one."""
    head_norm: NormLayer | None
    """Norm of what the head reads; None without one."""
    head: LinearLayer


def linear_layer(*parts: nn.Linear, scale: Tensor | None = None) -> LinearLayer:
    """Return one or more linear layers stacked along their outputs, each output multiplied by `scale` (out,)."""
    weight: Tensor = parts[0].weight
    bias: Tensor | None = parts[0].bias
    if len(parts) > 1:
        weight = torch.cat(tuple(part.weight for part in parts))
        bias = None if bias is None else torch.cat(tuple(part.bias for part in parts))
    if scale is not None:
        weight, bias = weight * scale.unsqueeze(-1), None if bias is None else bias * scale
    return LinearLayer(weight=weight, bias=bias)


def linear_macs(module: nn.Module | None, times: int = 1) -> int:
    """Return the multiply-accumulates of a module's linear layers and patch embeddings, each run on `times` vectors."""
    layers = [] if module is None else [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return times * sum(layer.weight.numel() for layer in layers)


def norm_layer(layer: nn.LayerNorm) -> NormLayer:
    """Return the weights of a LayerNorm."""
    return NormLayer(weight=layer.weight, bias=layer.bias, eps=layer.eps)


def why_not_norm(name: str, layer: nn.Module) -> str:
    """Return why the kernels do not have such a norm, as a sentence; empty where they do."""
    if not isinstance(layer, nn.LayerNorm):
        return f"{name} is a {type(layer).__name__}; the kernels have LayerNorm"
    if layer.weight is None or layer.bias is None:
        return f"{name} has no weight or no bias; the kernels' LayerNorm has both"
    return ""
