"""The weights of a model as the engine's forward reads them, borrowed and not copied: gradients reach the model.

Shapes: `h` heads, `e` width of a head, `d` = h e.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastast.engine.weights import PackedLinear, PackedModel, PackedNorm, arrange_block

if TYPE_CHECKING:
    from fastast.model import AudioSpectrogramTransformer


def borrow(model: AudioSpectrogramTransformer) -> PackedModel:
    """Return the parameters of `model` under the names of `pack`; made anew for every forward, as views are of a step.

    What is cut from a parameter, or widened, is so with its gradient.
    """
    patch: Any = model.patch_embed.proj
    geometry = model.geometry
    blocks = tuple(arrange_block(layer, _linear, _norm) for layer in model.blocks)
    last = blocks[-1].qkv.weight  # (3d, d)
    wide = torch.float64 if last.dtype == torch.float64 else torch.float32
    d = geometry.embed_dim
    _, keys, values = last.to(wide).view(3, geometry.num_heads, geometry.head_dim, d).unbind(0)  # (h, e, d) each
    return PackedModel(
        geometry=geometry,
        patch=_linear(patch),
        prefix=torch.cat([model.cls_token[0], model.dist_token[0]]),
        pos_embed=model.pos_embed,
        blocks=blocks,
        norm=_norm(model.norm),
        head_norm=_norm(model.head.norm),
        head=_linear(model.head.linear),
        last_keys=keys,
        last_values=values,
    )


def _linear(layer: Any) -> PackedLinear:
    return PackedLinear(weight=layer.weight, bias=layer.bias)


def _norm(layer: Any) -> PackedNorm:
    return PackedNorm(weight=layer.weight, bias=layer.bias, eps=layer.eps)
