"""The weights of timm's vision transformers for the engine, or why its kernels cannot use them.

Shapes: `q` prefix tokens, `n` tokens, `d` width.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention, DropPath, LayerNorm, Mlp, PatchDropout, PatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import (  # where every timm from 1.0.20 on has LayerScale
    Block,
    LayerScale,
    VisionTransformer,
)
from torch import Tensor, nn

from fastast.hosts.layers import BlockLayers, EndLayers, LinearLayer, linear_layer, norm_layer, why_not_norm
from fastast.hosts.replaced import class_of, why_hooked

_KNOWN = {VisionTransformer, PatchEmbed, PatchDropout, Block, Attention, Mlp, LayerScale, LayerNorm, DropPath} | {
    nn.Sequential, nn.Conv2d, nn.LayerNorm, nn.Linear, nn.GELU, nn.Dropout, nn.Identity
}  # fmt: skip
"""Classes of modules that the kernels stand for, in the places that `_why_not_block` and `_why_not_ends` check."""


def block_layers(block: Any) -> BlockLayers:
    """Return the weights of a `Block`, its layer scales folded into them."""
    return BlockLayers(
        norm1=norm_layer(block.norm1),
        qkv=linear_layer(block.attn.qkv),
        proj=linear_layer(block.attn.proj, scale=_scale(block.ls1)),
        norm2=norm_layer(block.norm2),
        fc1=linear_layer(block.mlp.fc1),
        fc2=linear_layer(block.mlp.fc2, scale=_scale(block.ls2)),
    )


def end_layers(model: Any) -> EndLayers:
    """Return the weights of embedding and head."""
    patch, positions = model.patch_embed.proj, model.pos_embed
    prefix = torch.cat([token[0] for token in (model.cls_token, model.reg_token) if token is not None])  # (q, d)
    if model.no_embed_class:
        positions = nn.functional.pad(positions, (0, 0, len(prefix), 0))  # (1, n, d)
    return EndLayers(
        patch=LinearLayer(weight=patch.weight, bias=patch.bias),
        stride=patch.stride,
        prefix=prefix,
        pos_embed=positions,
        norm=None if isinstance(model.norm, nn.Identity) else norm_layer(model.norm),
        head_norm=None if isinstance(model.fc_norm, nn.Identity) else norm_layer(model.fc_norm),
        head=linear_layer(model.head),
    )


def why_not_weights(model: Any) -> str:
    """Return why the kernels cannot use a model's weights, as a sentence; empty where they can."""
    blocks = (_why_not_block(f"blocks.{index}", block) for index, block in enumerate(model.blocks))
    return _why_not_ends(model) or next(filter(None, blocks), "") or _why_not_known(model) or why_hooked(model)


def _why_not_known(model: Any) -> str:
    """Return which module is of a class that the kernels do not stand for, as a sentence; empty where none is."""
    for name, module in model.named_modules():
        if (kind := class_of(module)) not in _KNOWN:
            return f"{name or 'the model'} is a {kind.__name__}; the kernels stand only for timm's own modules"
    return ""


def _scale(layer: nn.Module) -> Tensor | None:
    """Return the factors of a layer scale, None where there is none."""
    return layer.gamma if isinstance(layer, LayerScale) else None


def _why_not_block(name: str, block: Any) -> str:
    """Return why the kernels cannot use a block's weights, as a sentence; empty where they can."""
    for part in ("attn.q_norm", "attn.k_norm", "attn.norm", "mlp.norm"):
        kind = type(block.get_submodule(part)).__name__ if _has(block, part) else "Identity"
        if kind != "Identity":
            return f"{name}.{part} is a {kind}; the kernels have no norm there"
    if type(block.mlp) is not Mlp or type(block.mlp.act) is not nn.GELU or block.mlp.act.approximate != "none":
        return f"{name}.mlp is not two linear layers around a GELU, which the kernels have"
    for part in ("ls1", "ls2"):
        if not isinstance(getattr(block, part), nn.Identity | LayerScale):
            return f"{name}.{part} is a {type(getattr(block, part)).__name__}; the kernels fold LayerScale"
    for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        if type(block.get_submodule(part)) is not nn.Linear:
            return f"{name}.{part} is a {type(block.get_submodule(part)).__name__}; the kernels have Linear"
    if block.mlp.fc1.bias is None:
        return f"{name}.mlp.fc1 has no bias; the kernels have one"
    return why_not_norm(f"{name}.norm1", block.norm1) or why_not_norm(f"{name}.norm2", block.norm2)


def _why_not_ends(model: Any) -> str:
    """Return why the kernels cannot use the weights around the blocks, as a sentence; empty where they can."""
    patch = model.patch_embed.proj
    if isinstance(model, VisionTransformerDistilled):
        return "the model has two heads, head and head_dist; the kernels have one"
    if model.global_pool == "avg" and model.pool_include_prefix:
        return "the mean includes prefix tokens; the kernels average patches alone"
    if model.global_pool == "map":
        return "attn_pool pools by attention; the kernels read prefix tokens or a mean"
    if type(model.head) is not nn.Linear:
        return "head is not a linear layer, as in a model without classes (num_classes is 0)"
    if patch.in_channels != 1 or patch.kernel_size[0] != patch.kernel_size[1]:
        return (
            f"patches have {patch.in_channels} channels and sides {patch.kernel_size}; the kernels take 1 and squares"
        )
    for name in ("norm_pre", "patch_embed.norm"):
        if not isinstance(model.get_submodule(name), nn.Identity):
            return f"{name} is a {type(model.get_submodule(name)).__name__}; the kernels have no norm before the blocks"
    if model.pos_embed is None or model.cls_token is model.reg_token is None:
        return "the model has no position embedding or no prefix token; the kernels need both"
    if patch.bias is None:
        return "patch_embed.proj has no bias; the kernels have one"
    for name in ("norm", "fc_norm"):
        if not isinstance(getattr(model, name), nn.Identity) and why_not_norm(name, getattr(model, name)):
            return why_not_norm(name, getattr(model, name))
    return ""


def _has(module: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return hasattr(module.get_submodule(parent), name)
