"""The stages of a block on kernels that have a backward pass, for training, and the embedding of a filterbank.

Shapes: `b` batch, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `e` side of a patch, `n`
tokens, `p` tokens that leave a block, `k` tokens that the head reads, `d` width.

Attention, merging, and residual sums with their norms run on the kernels, forward and backward; the matrix products and
GELU are torch's. Dtypes follow autocast as they do in the model: the residual stream keeps the dtype of the parameters,
and a norm is written once, in the dtype in which the matrix product after it reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.encoder import EncoderShape
from fastast.engine.choosing import Chooser, PackedHeads
from fastast.engine.kernel_table import KernelTable
from fastast.engine.last_block import attend
from fastast.engine.packed_stages import linear, norm
from fastast.engine.weights import EngineWeights
from fastast.hosts.layers import NormLayer
from fastast.kernels.flat_plan import FlatPlan
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction.forward.scope import unwatched

if TYPE_CHECKING:
    from fastast.reduction import AttachedReduction, BlockTokens, TokenReduction


class TrainingStages:
    """The stages of every block, on a model's own parameters, borrowed for one step."""

    shape: EncoderShape

    def __init__(
        self,
        model: AudioSpectrogramTransformer,
        weights: EngineWeights,
        kernels: KernelTable,
        half: torch.dtype | None,
        *,
        spares_the_head: bool,
    ) -> None:
        """Run `model` on `kernels`.

        `half` is autocast's dtype for matrix products, None without autocast; `spares_the_head` says whether the last
        block may compute only the head's tokens.
        """
        self.shape = model.encoder
        self._weights, self._kernels, self._half = weights, kernels, half
        self._drop_paths: list[Any] = [block.drop_path for block in model.blocks]
        self._last, self._short = self.shape.depth - 1, spares_the_head
        self._choose = Chooser(kernels, unwatched)

    def open(self, x: Tensor) -> Tensor:
        """Return the tokens normalised by the first block's norm."""
        return norm(x, self._weights.blocks[0].norm1)

    def attention(self, block: int, normed: Tensor, size: Tensor | None) -> tuple[Tensor, PackedHeads]:
        """Return attention's output, (b, n, d), which is added to x, and its heads."""
        layer = self._weights.blocks[block]
        qkv = linear(normed, layer.qkv)  # (b, n, 3d)
        out = self._kernels.weighted_attention(qkv, size, self.shape.num_heads)  # (b, n, d)
        return self._drop_paths[block](linear(out, layer.proj)), PackedHeads.of(qkv, self.shape.num_heads)

    def add(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch and its norm for the MLP."""
        return self._add_norm(x, branch, self._weights.blocks[block].norm2, self._half)

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> FlatPlan:
        """Return the plan that removes `r` tokens."""
        return self._choose(tokens, r, attached)

    def merge(
        self, tokens: BlockTokens, plan: FlatPlan, reduction: TokenReduction
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the tokens (b, p, d) that remain after a plan, their norm, and their sizes."""
        layer = self._weights.blocks[tokens.block].norm2
        x, normed, size = self._kernels.merge_norm(
            tokens.before,
            tokens.branch,
            tokens.size,
            plan,
            layer.weight,
            layer.bias,
            layer.eps,
            self._half,
            combine=reduction.combining,
        )
        return x, normed, size

    def mlp(self, block: int, normed: Tensor) -> Tensor:
        """Return the MLP's output, (b, p, d), which is added to x."""
        layer = self._weights.blocks[block]
        return self._drop_paths[block](linear(F.gelu(linear(normed, layer.fc1)), layer.fc2))

    def close(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch and its norm: the next block's first, or the model's last."""
        # Where something other than a matrix product reads this norm, it is not rounded, as in the model.
        unrounded = block == self._last or (block + 1 == self._last and self._short)
        layer = self._weights.ends.norm if block == self._last else self._weights.blocks[block + 1].norm1
        assert layer is not None  # of FastAST's own model
        return self._add_norm(x, branch, layer, None if unrounded else self._half)

    def finish(self, x: Tensor, normed: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend with only the tokens that the head reads; return their residual sum and its norm, (b, k, d) each."""
        k, layer = self.shape.num_prefix_tokens, self._weights.blocks[-1]
        with torch.autocast(normed.device.type, enabled=False):
            out = attend(normed.to(layer.qkv.weight.dtype), size, self._weights, layer, k)  # (b, k, d)
        out = self._drop_paths[self._last](linear(out, layer.proj))
        return self._add_norm(x[:, :k], out, layer.norm2, self._half)

    def _add_norm(self, x: Tensor, y: Tensor, layer: NormLayer, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
        total, normed = self._kernels.add_norm(x, y, layer.weight, layer.bias, layer.eps, dtype)
        return total, normed


def embed(model: AudioSpectrogramTransformer, weights: EngineWeights, fbank: Tensor) -> Tensor:
    """Return the tokens with positions (b, n, d) of a normalised filterbank (b, f, m), as the model's `embed` does.

    Patches are gathered and multiplied, since a convolution with one input channel leaves the matrix units idle in both
    passes. A model class that overrides `embed` (patchout) keeps its own. Raises ValueError for another shape.
    """
    g = model.geometry
    own = type(model).embed is not AudioSpectrogramTransformer.embed
    if own or fbank.ndim != 3 or tuple(fbank.shape[1:]) != (g.num_frames, g.num_mel_bins):
        return model.embed(fbank)
    ends, side = weights.ends, g.patch_size
    prefix, pos = ends.prefix, ends.pos_embed
    patches = fbank.unfold(2, side, g.fstride).unfold(1, side, g.tstride)  # (b, t', f', e, e), frequency before time
    patches = patches.transpose(1, 2).flatten(3).flatten(1, 2)  # (b, f' t', e e)
    tokens = F.linear(patches, ends.patch.weight.flatten(1), ends.patch.bias)  # (b, f' t', d)
    first = (prefix + pos[:, : len(prefix)]).expand(len(fbank), -1, -1)
    return torch.cat([first, tokens + pos[:, len(prefix) :]], 1)  # (b, n, d)
