"""The weights of a model in the form that the engine's forward reads: copies for inference, borrowed ones for training.

Shapes: `h` heads, `e` width of a head, `d` = h e, `p` side of a patch.

Attention's factor 1/sqrt(e) is not folded into the queries' weights: that would be exact only where e is a power of
four, and the kernel applies it in registers at no cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastast.encoder import EncoderShape
from fastast.hosts import Host, adapter_of
from fastast.hosts.layers import BlockLayers, EndLayers


@dataclass(frozen=True, kw_only=True)
class EngineWeights:
    """All weights that logits depend on."""

    shape: EncoderShape
    """Shape of the encoder."""
    ends: EndLayers
    """Layers before and after the blocks."""
    blocks: tuple[BlockLayers, ...]
    """Layers of each block."""
    last_keys: Tensor
    """(h, e, d), key weights of the last block, in float32 or wider."""
    last_values: Tensor
    """(h, e, d), value weights of the last block, in float32 or wider."""


def pack(model: nn.Module, *, dtype: torch.dtype, device: torch.device) -> EngineWeights:
    """Copy the weights of `model` to `device` in `dtype`; the model is unchanged and shares no memory with the copy."""
    with torch.inference_mode(False), torch.no_grad():

        def copy(tensor: Tensor, to: torch.dtype = dtype) -> Tensor:
            return torch.empty(tensor.shape, dtype=to, device=device).copy_(tensor)

        made = _gather(adapter_of(model), copy, torch.float64 if dtype == torch.float64 else torch.float32)
        patch = dataclasses.replace(made.ends.patch, weight=_time_first(made.ends.patch.weight))
        return dataclasses.replace(made, ends=dataclasses.replace(made.ends, patch=patch))


def borrow(model: nn.Module) -> EngineWeights:
    """Return the parameters of `model` under the names that `pack` uses, without copying those that need no change.

    Borrow them anew for every forward, as views belong to one step. Gradients flow through views and widened copies.
    """

    def keep(tensor: Tensor, to: torch.dtype | None = None) -> Tensor:
        return tensor if to is None else tensor.to(to)

    double = next(model.parameters()).dtype == torch.float64
    return _gather(adapter_of(model), keep, torch.float64 if double else torch.float32)


def _gather(host: Host, take: Callable[..., Tensor], wide: torch.dtype) -> EngineWeights:
    """Collect a host's layers, every tensor through `take(tensor)` or `take(tensor, dtype)`."""
    shape = host.encoder
    layers = [host.layers(block) for block in range(shape.depth)]
    last = take(layers[-1].qkv.weight, wide).view(3, shape.num_heads, shape.head_dim, shape.embed_dim)
    _, keys, values = last.unbind(0)  # (h, e, d) each
    return EngineWeights(
        shape=shape,
        ends=_taken(host.ends(), take),
        blocks=tuple(_taken(layer, take) for layer in layers),
        last_keys=keys,
        last_values=values,
    )


def _taken(value: Any, take: Callable[..., Tensor]) -> Any:
    """Return a dataclass of layers with `take` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return take(value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    parts = {field.name: _taken(getattr(value, field.name), take) for field in dataclasses.fields(value)}
    return dataclasses.replace(value, **parts)


def _time_first(weight: Tensor) -> Tensor:
    """Lay (d, 1, p, p) out in memory with time before frequency; shape and values stay the same."""
    return weight.transpose(2, 3).contiguous().transpose(2, 3)
