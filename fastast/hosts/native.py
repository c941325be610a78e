"""FastAST's own AST as a host: it handles a reduction itself, so nothing in it is replaced.

Shapes: `b` batch, `f` frames, `m` mel bins, `n` tokens, `d` width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastast.hosts.host import Host, HostBlock
from fastast.hosts.layers import BlockLayers, EndLayers, LinearLayer, linear_layer, norm_layer
from fastast.hosts.replaced import why_not_as_made
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import ReductionError
from fastast.reduction.forward.stages import HeadTensors

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.reduction.forward.attach import AttachedReduction


class NativeBlock(HostBlock):
    """A block of FastAST's own AST, which is already split in two."""

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """Run the block's attention."""
        return self.module.attention(x, size, kernel)

    def mlp_branch(self, x: Tensor) -> Tensor:
        """Run the block's MLP."""
        return self.module.mlp_branch(x)


class NativeHost(Host):
    """The adapter of an `AudioSpectrogramTransformer`."""

    replaces = ()

    @property
    def encoder(self) -> EncoderShape:
        """The shape of the encoder, from the model's geometry."""
        return self.model.geometry.encoder

    def blocks(self) -> list[HostBlock]:
        """Return the model's blocks."""
        return [NativeBlock(block) for block in self.model.blocks]

    def example(self) -> tuple[Tensor, ...]:
        """Return a random filterbank (1, frames, mel bins)."""
        return (torch.randn(1, self.model.geometry.num_frames, self.model.geometry.num_mel_bins),)

    def embed(self, fbank: Tensor) -> Tensor:
        """Return the tokens of filterbanks that enter the first block, (b, f, m) -> (b, n, d)."""
        return self.model.embed(fbank)

    @property
    def attached(self) -> AttachedReduction | None:
        """The reduction that is attached to the model; None without one."""
        return self.model.attached

    @property
    def kernel(self) -> str:
        """The model's attention kernel, which a reduction sets."""
        return self.model.attention_kernel

    def attach(self, attached: AttachedReduction, kernel: str = "auto") -> None:
        """Attach a reduction to the model."""
        if self.model.attached is None:
            self.model._kernel_before = self.model.attention_kernel
        self.model.attached, self.model.attention_kernel = attached, kernel

    def detach(self) -> None:
        """Detach the reduction, and restore the attention kernel that the model had."""
        if self.model.attached is not None:
            self.model.attached, self.model.attention_kernel = None, self.model._kernel_before
            del self.model._kernel_before

    def packable(self) -> str:
        """Return why the engine's kernels cannot use the weights, as a sentence; empty where they can."""
        return _why_overridden(self.model, "embed") or why_changed(self.model)

    def layers(self, block: int) -> BlockLayers:
        """Return a block's weights."""
        layer: Any = self.model.blocks[block]
        return BlockLayers(
            norm1=norm_layer(layer.norm1),
            qkv=linear_layer(layer.attn.qkv),
            proj=linear_layer(layer.attn.proj),
            norm2=norm_layer(layer.norm2),
            fc1=linear_layer(layer.mlp.fc1),
            fc2=linear_layer(layer.mlp.fc2),
        )

    def ends(self) -> EndLayers:
        """Return the weights of embedding and head."""
        model, patch = self.model, self.model.patch_embed.proj
        return EndLayers(
            patch=LinearLayer(weight=patch.weight, bias=patch.bias),
            stride=patch.stride,
            prefix=torch.cat([model.cls_token[0], model.dist_token[0]]),
            pos_embed=model.pos_embed,
            norm=norm_layer(model.norm),
            head_norm=norm_layer(model.head.norm),
            head=linear_layer(model.head.linear),
        )


def why_changed(model: AudioSpectrogramTransformer) -> str:
    """Return what was changed in a model since it was made that keeps kernels from using it, as a sentence; else empty.

    Does not check whether `embed` is overridden.
    """
    with torch.device("meta"):
        made = AudioSpectrogramTransformer(model.geometry)
    return _why_overridden(model, "forward", "forward_features") or why_not_as_made(model, made)


def _why_overridden(model: AudioSpectrogramTransformer, *methods: str) -> str:
    for name in methods:
        if getattr(type(model), name) is not getattr(AudioSpectrogramTransformer, name):
            return f"{type(model).__name__} has its own {name}; the kernels have AudioSpectrogramTransformer's"
    return ""


def native_host(model: nn.Module) -> NativeHost:
    """Return the adapter of FastAST's own model. Raises ReductionError for any other of its modules."""
    if isinstance(model, AudioSpectrogramTransformer):
        return NativeHost(model)
    raise ReductionError(f"hosts: {type(model).__qualname__} is not a model that takes a reduction")
