"""Stages of training that are not kernels: tokens of a filterbank, and the slice oracle with its gradients.

Shapes: `b` batch, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `e` side of a patch, `n`
tokens, `p` tokens that stay, `d` width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastast.engine.drop import keep_first
from fastast.engine.weights import PackedModel, PackedNorm
from fastast.model import AudioSpectrogramTransformer

if TYPE_CHECKING:
    from fastast.engine.stages import Stages


def embed(model: AudioSpectrogramTransformer, weights: PackedModel, fbank: Tensor) -> Tensor:
    """Normalised filterbank (b, f, m) -> tokens with positions (b, n, d), as the model's own `embed`.

    A product of gathered patches: a convolution of one input channel leaves the matrix units idle, there and back. A
    model with an `embed` of its own (patchout) keeps it. Raises ValueError for another shape.
    """
    g = weights.geometry
    own = type(model).embed is not AudioSpectrogramTransformer.embed
    if own or fbank.ndim != 3 or tuple(fbank.shape[1:]) != (g.num_frames, g.num_mel_bins):
        return model.embed(fbank)
    side, prefix, pos = g.patch_size, weights.prefix, weights.pos_embed
    patches = fbank.unfold(2, side, g.fstride).unfold(1, side, g.tstride)  # (b, t', f', e, e), frequency before time
    patches = patches.transpose(1, 2).flatten(3).flatten(1, 2)  # (b, f' t', e e)
    tokens = F.linear(patches, weights.patch.weight.flatten(1), weights.patch.bias)  # (b, f' t', d)
    first = (prefix + pos[:, : len(prefix)]).expand(len(fbank), -1, -1)
    return torch.cat([first, tokens + pos[:, len(prefix) :]], 1)  # (b, n, d)


def drop_norm(
    x: Tensor, y: Tensor, p: int, layer: PackedNorm, dtype: torch.dtype | None, stages: Stages
) -> tuple[Tensor, Tensor]:
    """Return the first `p` tokens of x + y and their LayerNorm: (b, n, d) -> (b, p, d) twice, norms in `dtype`."""
    if stages.names["merge_norm"] == "torch":
        total, normed = stages.add_norm(x[:, :p], y[:, :p], layer.weight, layer.bias, layer.eps, dtype)
        return total, normed
    x, y = _Dropping.apply(x, y, p)
    plan = keep_first(x.shape[0], x.shape[1], p, x.device)
    total, normed, _ = stages.merge_norm(x, y, None, plan, layer.weight, layer.bias, layer.eps, dtype)
    return total, normed


class _Dropping(torch.autograd.Function):
    """Nothing forwards; backwards, zeros for the tokens in no slot, whose gradient `merge_norm` never writes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, p: int) -> tuple[Tensor, Tensor]:
        ctx.p = p
        return x.view_as(x), y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_x: Tensor, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
        for grad in (grad_x, grad_y):
            grad[:, ctx.p :] = 0  # in place: the buffer is merge_norm's, made for this and read by nobody else
        return grad_x, grad_y, None
