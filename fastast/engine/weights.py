"""The weights of a model, packed once in the engine's dtype on its device: copies that the model does not share.

Shapes: `n` tokens, `h` heads, `e` width of a head, `d` = h e, `p` side of a patch, `c` classes.

The 1/sqrt(e) of the attention is not folded into the queries' weights: it would be exact only where e is a power of
four, and the kernel applies it in registers at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fastast.geometry import Geometry
    from fastast.model import AudioSpectrogramTransformer


@dataclass(frozen=True, kw_only=True)
class PackedLinear:
    """A linear layer."""

    weight: Tensor
    """(out, in)."""
    bias: Tensor | None
    """(out,)."""


@dataclass(frozen=True, kw_only=True)
class PackedNorm:
    """A LayerNorm."""

    weight: Tensor
    """(d,)."""
    bias: Tensor
    """(d,)."""
    eps: float


@dataclass(frozen=True, kw_only=True)
class PackedBlock:
    """One transformer block."""

    norm1: PackedNorm
    qkv: PackedLinear
    proj: PackedLinear
    norm2: PackedNorm
    fc1: PackedLinear
    fc2: PackedLinear


@dataclass(frozen=True, kw_only=True)
class PackedModel:
    """All weights that logits depend on."""

    geometry: Geometry
    patch: PackedLinear
    """Weight (d, 1, p, p), in memory with frequency before time, as the kernel reads it."""
    prefix: Tensor
    """(2, d), class and distillation token."""
    pos_embed: Tensor
    """(1, n, d)."""
    blocks: tuple[PackedBlock, ...]
    norm: PackedNorm
    head_norm: PackedNorm
    head: PackedLinear
    last_keys: Tensor
    """(h, e, d), the key weights of the last block; float32 or wider."""
    last_values: Tensor
    """(h, e, d), the value weights of the last block; float32 or wider."""


def pack(model: AudioSpectrogramTransformer, *, dtype: torch.dtype, device: torch.device) -> PackedModel:
    """Copy the weights of `model` in `dtype` to `device`; the model is not touched and shares nothing."""
    with torch.inference_mode(False), torch.no_grad():

        def copy(tensor: Tensor, to: torch.dtype = dtype) -> Tensor:
            return torch.empty(tensor.shape, dtype=to, device=device).copy_(tensor)

        def linear(layer: Any) -> PackedLinear:
            return PackedLinear(weight=copy(layer.weight), bias=None if layer.bias is None else copy(layer.bias))

        def norm(layer: Any) -> PackedNorm:
            return PackedNorm(weight=copy(layer.weight), bias=copy(layer.bias), eps=layer.eps)

        patch: Any = model.patch_embed.proj
        last: nn.Linear = model.blocks[-1].attn.qkv  # type: ignore[union-attr,assignment]
        geometry = model.geometry
        h, e, d = geometry.num_heads, geometry.head_dim, geometry.embed_dim
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        _, keys, values = copy(last.weight, wide).view(3, h, e, d).unbind(0)
        return PackedModel(
            geometry=geometry,
            patch=PackedLinear(weight=_time_first(copy(patch.weight)), bias=copy(patch.bias)),
            prefix=copy(torch.cat([model.cls_token[0], model.dist_token[0]])),
            pos_embed=copy(model.pos_embed),
            blocks=tuple(arrange_block(layer, linear, norm) for layer in model.blocks),
            norm=norm(model.norm),
            head_norm=norm(model.head.norm),
            head=linear(model.head.linear),
            last_keys=keys.clone(),
            last_values=values.clone(),
        )


def arrange_block(layer: Any, linear: Callable[[Any], PackedLinear], norm: Callable[[Any], PackedNorm]) -> PackedBlock:
    """Return a block of the model under the engine's names, each of its layers through `linear` or `norm`."""
    return PackedBlock(
        norm1=norm(layer.norm1),
        qkv=linear(layer.attn.qkv),
        proj=linear(layer.attn.proj),
        norm2=norm(layer.norm2),
        fc1=linear(layer.mlp.fc1),
        fc2=linear(layer.mlp.fc2),
    )


def _time_first(weight: Tensor) -> Tensor:
    """Lay (d, 1, p, p) out in memory with time before frequency; shape and values stay."""
    return weight.transpose(2, 3).contiguous().transpose(2, 3)
