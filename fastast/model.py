"""The Audio Spectrogram Transformer (Gong et al. 2021), with a place for token reduction in every block.

Shapes: `b` batch, `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `n` tokens,
`h` heads, `d` width, `c` classes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from timm.layers import DropPath, Mlp, trunc_normal_
from torch import Tensor, nn

from fastast.attention import proportional_attention
from fastast.encoder import EncoderShape
from fastast.geometry import Geometry
from fastast.reduction.forward.attach import AttachedReduction
from fastast.reduction.forward.encode import encode
from fastast.reduction.forward.scope import OUTSIDE, Scope, unwatched
from fastast.reduction.forward.stages import HeadTensors, ModuleStages
from fastast.reduction.forward.trace import MergeTrace

if TYPE_CHECKING:
    from fastast.frontend import Normalisation
    from fastast.scores import Loss


class Attention(nn.Module):
    """Multi-head self-attention that returns its queries, keys and values along with its output."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.num_heads = geometry.num_heads
        self.qkv = nn.Linear(geometry.embed_dim, 3 * geometry.embed_dim, bias=geometry.qkv_bias)
        self.proj = nn.Linear(geometry.embed_dim, geometry.embed_dim)

    def forward(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """x: (b, n, d), size: (b, n) or None -> output (b, n, d) and queries, keys, values (b, h, n, d/h)."""
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # (b, h, n, d/h) each
        out = proportional_attention(q, k, v, size, kernel=kernel)
        return self.proj(out.transpose(1, 2).reshape(b, n, d)), (q, k, v)


class Block(nn.Module):
    """A pre-norm transformer block in two parts, between which tokens are reduced (ToMe, section 3)."""

    def __init__(self, geometry: Geometry, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(geometry.embed_dim, eps=geometry.norm_eps)
        self.attn = Attention(geometry)
        self.norm2 = nn.LayerNorm(geometry.embed_dim, eps=geometry.norm_eps)
        self.mlp = Mlp(geometry.embed_dim, geometry.mlp_dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """x: (b, n, d), size: (b, n) float32 or None -> what attention adds (b, n, d), and its heads."""
        out, heads = self.attn(self.norm1(x), size, kernel)
        return self.drop_path(out), heads

    def mlp_branch(self, x: Tensor) -> Tensor:
        """x: (b, n, d) -> what the MLP adds, (b, n, d)."""
        return self.drop_path(self.mlp(self.norm2(x)))


class AudioSpectrogramTransformer(nn.Module):
    """AST with class and distillation token; weights are random until a checkpoint is loaded."""

    labels: tuple[str, ...] | None
    """Names of the classes; None where the checkpoint has none."""
    normalisation: Normalisation | None
    """Filterbank mean and deviation that the weights were trained with; None where unknown."""
    loss: Loss | None
    """Loss that the weights were trained with; None where unknown. See `fastast.scores`."""
    attached: AttachedReduction | None
    """Reduction that `fastast.reduce` attached; None without one."""
    attention_kernel: str
    """Kernel of `fastast.attention` that the blocks use."""

    def __init__(self, geometry: Geometry, *, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.geometry = geometry
        self.labels = None
        self.normalisation = None
        self.loss = None
        self.attached = None
        self.attention_kernel = "auto"
        d = geometry.embed_dim
        stride = (geometry.fstride, geometry.tstride)
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(1, d, geometry.patch_size, stride)))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, geometry.num_tokens, d))
        rates = [drop_path_rate * i / max(1, geometry.depth - 1) for i in range(geometry.depth)]
        self.blocks = nn.ModuleList(Block(geometry, rate) for rate in rates)
        self.norm = nn.LayerNorm(d, eps=geometry.norm_eps)
        self.head = nn.Sequential(
            OrderedDict(norm=nn.LayerNorm(d, eps=geometry.head_norm_eps), linear=nn.Linear(d, geometry.num_classes))
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Redraw the weights of embeddings, linear layers and convolutions: truncated normal with deviation 0.02.

        Sets the biases of linear layers and convolutions to zero, and leaves LayerNorms as they are.
        """
        for parameter in (self.cls_token, self.dist_token, self.pos_embed):
            trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def embed(self, fbank: Tensor) -> Tensor:
        """Embed a normalised filterbank (b, f, m) as tokens with positions, (b, n, d).

        Raises ValueError for another shape.
        """
        expected = (self.geometry.num_frames, self.geometry.num_mel_bins)
        if fbank.ndim != 3 or tuple(fbank.shape[1:]) != expected:
            raise ValueError(
                f"model: the filterbank has shape {tuple(fbank.shape)}; this model takes (batch, {expected[0]} frames, "
                f"{expected[1]} mel bins). Use fastast.Frontend, or load the model with num_frames= and num_mel_bins="
            )
        patches = self.patch_embed(fbank.transpose(1, 2).unsqueeze(1))  # (b, d, f', t')
        patches = patches.flatten(2).transpose(1, 2)  # (b, f' t', d)
        prefix = torch.cat([self.cls_token, self.dist_token], 1).expand(fbank.shape[0], -1, -1)
        return torch.cat([prefix, patches], 1) + self.pos_embed  # (b, n, d)

    @property
    def encoder(self) -> EncoderShape:
        """The encoder shape, for reductions."""
        return self.geometry.encoder

    def forward_features(self, fbank: Tensor, trace: MergeTrace | None = None, *, scope: Scope = unwatched) -> Tensor:
        """Return the last block's tokens after the norm, (b, f, m) -> (b, n', d).

        `trace` records every merge; `scope` wraps every part of the forward pass, for profilers.
        """
        with scope(OUTSIDE, "embed"):
            x = self.embed(fbank)  # (b, n, d)
        stages = ModuleStages(self.encoder, list(self.blocks), self.attention_kernel)  # type: ignore[arg-type]
        x, _, _ = encode(stages, x, self.attached, trace=trace, scope=scope)
        return self.norm(x)

    def forward(self, fbank: Tensor, trace: MergeTrace | None = None, *, scope: Scope = unwatched) -> Tensor:
        """Return the logits (b, c) of a normalised filterbank (b, f, m); `trace` records every merge.

        Raises ValueError for another shape.
        """
        with scope(OUTSIDE, "forward"):
            x = self.forward_features(fbank, trace, scope=scope)
            with scope(OUTSIDE, "head"):
                return self.head((x[:, 0] + x[:, 1]) / 2)
