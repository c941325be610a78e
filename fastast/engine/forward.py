"""The forward of an AST over the stages of the engine, for any batch.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `p` tokens that leave a block, `h` heads, `d` width,
`c` classes.

Every residual sum is fused with the norm that follows it, and where tokens merge with the merging between the two: a
block reads its tokens as `x`, the residual stream, and `normed`, their norm.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fastast.engine.last_block import head_tokens
from fastast.engine.route import MERGES, Route
from fastast.engine.stages import Stages
from fastast.engine.weights import PackedBlock, PackedLinear, PackedModel, PackedNorm
from fastast.kernels.merge_plan import FlatPlan


def forward(
    weights: PackedModel, route: Route, stages: Stages, fbank: Tensor, tokens: list[int] | None = None
) -> Tensor:
    """Normalised filterbank (b, f, m), on the device of the weights, -> logits (b, c) in their dtype.

    `tokens` notes how many left each block that computes all of them.
    """
    geometry = weights.geometry
    stride = (geometry.fstride, geometry.tstride)
    patch = weights.patch
    x = stages.patch_tokens(fbank, patch.weight, patch.bias, weights.prefix, weights.pos_embed, stride)  # (b, n, d)
    normed, size = norm(x, weights.blocks[0].norm1), None
    after = [*(block.norm1 for block in weights.blocks[1:]), weights.norm]
    last = len(weights.blocks) - 1
    for i, (block, r, next_norm) in enumerate(zip(weights.blocks, route.removals, after, strict=True)):
        weighted = size if route.proportional else None
        if i == last and route.short_last_block:
            x, normed = head_tokens(x, normed, weighted, weights, block, route.num_prefix, stages)  # (b, 2, d) each
        else:
            qkv = linear(normed, block.qkv)  # (b, n, 3d)
            out = linear(stages.weighted_attention(qkv, weighted, geometry.num_heads), block.proj)  # (b, n, d)
            x, normed, size = _reduce(x, out, qkv, size, r, route, geometry.num_heads, block, stages)
            if tokens is not None:
                tokens.append(x.shape[1])
        hidden = stages.linear_gelu(normed, block.fc1.weight, block.fc1.bias)
        x, normed = stages.add_norm(x, linear(hidden, block.fc2), next_norm.weight, next_norm.bias, next_norm.eps)
    pooled = normed[:, : route.num_prefix].mean(1)  # (b, d)
    return linear(norm(pooled, weights.head_norm), weights.head)  # (b, c)


def _reduce(
    x: Tensor,
    out: Tensor,
    qkv: Tensor,
    size: Tensor | None,
    r: int,
    route: Route,
    num_heads: int,
    block: PackedBlock,
    stages: Stages,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Residual sum, reduction and norm: (b, n, d) -> (b, p, d) twice and sizes (b, p) or None."""
    weight, bias, eps = block.norm2.weight, block.norm2.bias, block.norm2.eps
    if r > 0 and route.method == MERGES:
        plan = choose_merges(qkv, r, route, num_heads, stages)
        merged, normed, new_size = stages.merge_norm(x, out, size, plan, weight, bias, eps)
        return merged, normed, new_size
    if r > 0:  # the oracle: the last tokens go, unread
        total, normed = stages.drop_norm(x, out, x.shape[1] - r, weight, bias, eps)
        return total, normed, None
    total, normed = stages.add_norm(x, out, weight, bias, eps)
    return total, normed, size


def choose_merges(qkv: Tensor, r: int, route: Route, num_heads: int, stages: Stages) -> FlatPlan:
    """Choose the `r` tokens that merge, and into which: (b, n, 3d) -> their plan."""
    metric = stages.key_metric(qkv, num_heads)
    best, partner = stages.best_partner(metric, route.num_protected)
    plan: FlatPlan = stages.merge_plan(best, partner, qkv.shape[1], r, route.num_protected)
    return plan


def norm(x: Tensor, layer: PackedNorm) -> Tensor:
    """LayerNorm over the last axis."""
    return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)


def linear(x: Tensor, layer: PackedLinear) -> Tensor:
    """Return x Wᵀ + b."""
    return F.linear(x, layer.weight, layer.bias)
