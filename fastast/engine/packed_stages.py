"""The stages of a block on the kernels, for inference: packed weights, and residual sums fused with the next norm.

Shapes: `b` batch, `n` tokens, `p` tokens that leave a block, `k` tokens that the head reads, `h` heads, `d` width, `c`
classes.

A block reads its tokens as `x`, the residual stream, and `normed`, their norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from fastast.encoder import EncoderShape
from fastast.engine.choosing import Chooser, PackedHeads
from fastast.engine.kernel_table import KernelTable
from fastast.engine.last_block import attend
from fastast.engine.weights import EngineWeights
from fastast.hosts import weighted_mean
from fastast.hosts.layers import LinearLayer, NormLayer
from fastast.kernels.flat_plan import FlatPlan
from fastast.reduction.forward.scope import OUTSIDE, Scope, unwatched

if TYPE_CHECKING:
    from fastast.reduction import AttachedReduction, BlockTokens, TokenReduction


class PackedStages:
    """The stages of every block, on packed weights."""

    shape: EncoderShape

    def __init__(self, weights: EngineWeights, kernels: KernelTable, scope: Scope = unwatched) -> None:
        """Run on `kernels`; every kernel and matrix product runs inside `scope`."""
        self.shape = weights.shape
        self._weights, self._kernels, self._scope = weights, kernels, scope
        self._choose = Chooser(kernels, scope)

    def open(self, x: Tensor) -> Tensor:
        """Return the tokens normalised by the first block's norm."""
        with self._scope(OUTSIDE, "first norm"):
            return norm(x, self._weights.blocks[0].norm1)

    def attention(self, block: int, normed: Tensor, size: Tensor | None) -> tuple[Tensor, PackedHeads]:
        """Return attention's output, (b, n, d), which is added to x, and its heads."""
        layer = self._weights.blocks[block]
        with self._scope(block, "qkv"):
            qkv = linear(normed, layer.qkv)  # (b, n, 3d)
        with self._scope(block, "weighted attention"):
            out = self._kernels.weighted_attention(qkv, size, self.shape.num_heads)
        with self._scope(block, "projection"):
            return linear(out, layer.proj), PackedHeads.of(qkv, self.shape.num_heads)

    def add(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch and its norm for the MLP."""
        return self._add_norm(block, x, branch, self._weights.blocks[block].norm2)

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> FlatPlan:
        """Return the plan that removes `r` tokens."""
        return self._choose(tokens, r, attached)

    def merge(
        self, tokens: BlockTokens, plan: FlatPlan, reduction: TokenReduction
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the tokens (b, p, d) that remain after a plan, their norm, and their sizes."""
        layer = self._weights.blocks[tokens.block].norm2
        with self._scope(tokens.block, "merge + norm"):
            x, normed, size = self._kernels.merge_norm(
                tokens.before,
                tokens.branch,
                tokens.size,
                plan,
                layer.weight,
                layer.bias,
                layer.eps,
                combine=reduction.combining,
            )
        return x, normed, size

    def mlp(self, block: int, normed: Tensor) -> Tensor:
        """Return the MLP's output, (b, p, d), which is added to x."""
        layer = self._weights.blocks[block]
        with self._scope(block, "mlp, first product"):
            hidden = self._kernels.linear_gelu(normed, layer.fc1.weight, layer.fc1.bias)
        with self._scope(block, "mlp, second product"):
            return linear(hidden, layer.fc2)

    def close(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch and its norm: the next block's first, or the model's last."""
        blocks = self._weights.blocks
        layer = blocks[block + 1].norm1 if block + 1 < len(blocks) else self._weights.ends.norm
        if layer is None:  # the head normalises after pooling
            return x + branch, x + branch
        return self._add_norm(block, x, branch, layer)

    def finish(self, x: Tensor, normed: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Attend with only the tokens that the head reads; return their residual sum and its norm, (b, k, d) each.

        Return None where the head reads patches.
        """
        if self.shape.reads not in ("prefix", "class"):
            return None
        k, layer, last = self.shape.num_prefix_tokens, self._weights.blocks[-1], self.shape.depth - 1
        with self._scope(last, "head's tokens"):
            out = linear(attend(normed, size, self._weights, layer, k), layer.proj)  # (b, k, d)
        return self._add_norm(last, x[:, :k], out, layer.norm2)

    def _add_norm(self, block: int, x: Tensor, y: Tensor, layer: NormLayer) -> tuple[Tensor, Tensor]:
        with self._scope(block, "add + norm"):
            total, normed = self._kernels.add_norm(x, y, layer.weight, layer.bias, layer.eps)
        return total, normed


def norm(x: Tensor, layer: NormLayer) -> Tensor:
    """Apply LayerNorm over the last axis."""
    return F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)


def linear(x: Tensor, layer: LinearLayer) -> Tensor:
    """Return x Wᵀ + b."""
    return F.linear(x, layer.weight, layer.bias)


def read_out(weights: EngineWeights, normed: Tensor, size: Tensor | None) -> Tensor:
    """Pool the tokens that the head reads, and apply its norm, if any, and its linear layer.

    normed: (b, p, d), size: (b, p) or None. Returns logits (b, c).
    """
    shape, ends = weights.shape, weights.ends
    if shape.reads == "average":
        patches = normed[:, shape.num_prefix_tokens :]
        pooled = weighted_mean(patches, None if size is None else size[:, shape.num_prefix_tokens :])  # (b, d)
    else:
        pooled = normed[:, : shape.num_prefix_tokens if shape.reads == "prefix" else 1].mean(1)  # (b, d)
    return linear(pooled if ends.head_norm is None else norm(pooled, ends.head_norm), ends.head)  # (b, c)
