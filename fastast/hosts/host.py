"""Host: a model as a reduction sees it, whichever library built it.

Shapes: `b` batch, `n` tokens, `p` remaining tokens, `h` heads, `e` width of a head, `d` width.

Adapters hold nothing but the model and are recreated in every forward pass, so that copies and replicas of a model run
on their own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from fastast.hosts.attachment import Attachment
from fastast.reduction import ReductionError
from fastast.reduction.forward.encode import encode
from fastast.reduction.forward.stages import HeadTensors, ModuleStages

if TYPE_CHECKING:
    from fastast.encoder import EncoderShape
    from fastast.hosts.layers import BlockLayers, EndLayers
    from fastast.reduction.forward.attach import AttachedReduction
    from fastast.reduction.forward.trace import MergeTrace


class HostBlock:
    """A block of a host, split where tokens are reduced: between attention and MLP."""

    elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Names of modules in the block that are honoured without being called."""

    def __init__(self, module: nn.Module) -> None:
        """`module` is the host's own block: called with tokens (b, n, d), it returns tokens (b, n, d)."""
        self.module: Any = module

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """x: (b, n, d), size: (b, n) or None -> what attention adds, (b, n, d), and q, k, v, (b, h, n, e) each.

        Norm, attention to every token in proportion to its size, projection, layer scale, drop path; everything but the
        residual sum. `fastast.proportional_attention(q, k, v, size, kernel=kernel)` computes the attention.
        """
        raise NotImplementedError

    def mlp_branch(self, x: Tensor) -> Tensor:
        """x: (b, n, d) -> what the MLP adds, (b, n, d): norm, MLP, layer scale, drop path."""
        raise NotImplementedError


class CheckpointedBlock(HostBlock):
    """A block that recomputes its activations in the backward pass (gradient checkpointing)."""

    def __init__(self, block: HostBlock, checkpoint: Callable[..., Any]) -> None:
        """`checkpoint(function, *arguments)` is the host's own."""
        super().__init__(block.module)
        self.elsewhere = block.elsewhere  # type: ignore[misc]
        self._block, self._checkpoint = block, checkpoint

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """Run the block's attention under the checkpoint."""
        branch, heads = self._checkpoint(self._block.attention, x, size, kernel)
        return branch, heads

    def mlp_branch(self, x: Tensor) -> Tensor:
        """Run the block's MLP under the checkpoint."""
        branch: Tensor = self._checkpoint(self._block.mlp_branch, x)
        return branch


class Host:
    """An adapter: what FastAST needs to know about a model, and the forward that replaces the model's own."""

    replaces: ClassVar[tuple[str, ...]] = ("forward",)
    """Methods of the module that the adapter's methods of the same names replace while a reduction is attached.

    Empty for a model that handles a reduction itself: there is then nothing to compare with its own forward."""

    def __init__(self, model: nn.Module) -> None:
        """Raises ReductionError for a model that cannot be adapted, naming the module that cannot be honoured."""
        self.model: Any = model

    @property
    def module(self) -> Any:
        """The part of the model that runs the blocks; the model itself, unless overridden."""
        return self.model

    @property
    def encoder(self) -> EncoderShape:
        """The shape of the model's encoder."""
        raise NotImplementedError

    def blocks(self) -> Sequence[HostBlock]:
        """Return the blocks in order."""
        raise NotImplementedError

    def example(self) -> tuple[Tensor, ...]:
        """Return random arguments for the model's forward, with one clip; dtype and device do not matter."""
        raise NotImplementedError

    @property
    def fbank_shape(self) -> tuple[int, int]:
        """Numbers of frames and mel bins of the filterbank that the model takes."""
        shape = self.example()[0].shape
        if len(shape) != 3:
            raise ReductionError(
                f"hosts: {type(self).__qualname__} takes {tuple(shape)}, not a filterbank (1, frames, mel bins); where "
                "its input can be made from one, give the adapter fbank_shape, logits and tokens_of"
            )
        return shape[1], shape[2]

    def logits(self, fbank: Tensor) -> Tensor:
        """Run the model on a normalised filterbank (b, frames, mel bins); return its logits (b, classes)."""
        logits: Tensor = self.model(fbank)
        return logits

    def tokens_of(self, fbank: Tensor) -> Tensor:
        """Return the tokens of a filterbank that enter the first block, (b, frames, mel bins) -> (b, n, d)."""
        return self.embed(fbank)

    def embed(self, x: Tensor) -> Tensor:
        """Return the tokens of the model's input `x` that enter the first block, (b, n, d)."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the model's own forward does, with `self.encode` in place of its blocks."""
        raise NotImplementedError

    def packable(self) -> str:
        """Return why the engine's kernels cannot use the model's weights, as a sentence; empty where they can."""
        return f"the adapter {type(self).__qualname__} packs no weights"

    def layers(self, block: int) -> BlockLayers:
        """Return the weights of a block in the form that the engine packs; gradients flow through them."""
        raise NotImplementedError

    def ends(self) -> EndLayers:
        """Return the weights before and after the blocks in the form that the engine packs."""
        raise NotImplementedError

    def encode(
        self, x: Tensor, *, blocks: Sequence[HostBlock] | None = None, trace: MergeTrace | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the blocks with any attached reduction: (b, n, d) -> tokens (b, p, d) and sizes (b, p) or None.

        `blocks` are the host's own unless given; `trace` records every merge. Sizes are None where nothing was merged,
        and where the reduction asks for unweighted pooling.
        Raises ReductionError where the model's encoder has changed shape since the reduction was attached.
        """
        attachment, blocks = Attachment.of(self.module), list(self.blocks() if blocks is None else blocks)
        if attachment is None:
            x, _, size = encode(ModuleStages(self.encoder, blocks), x, None, trace=trace)  # type: ignore[arg-type]
            return x, size
        shape = attachment.encoder
        if x.shape[1] != shape.num_tokens or len(blocks) != shape.depth:
            raise ReductionError(
                f"hosts: the reduction is for {shape.depth} blocks and {shape.num_tokens} tokens, as "
                f"{type(self).__qualname__}.encoder says, but the model runs {x.shape[1]} tokens through {len(blocks)} "
                "blocks. If the model changed, remove the reduction and attach it again; else correct the encoder"
            )
        stages = ModuleStages(shape, blocks, attachment.kernel)  # type: ignore[arg-type]
        x, _, size = encode(stages, x, attachment.attached, trace=trace)
        if not attachment.attached.reduction.weighted_pooling:
            size = None
        return (x, size) if attachment.probe is None else attachment.probe(x, size)

    def own(self, name: str) -> Any:
        """Return a method of the model as it was before the reduction was attached."""
        kind = type(self.module)
        return getattr(getattr(kind, "_fastast_base", kind), name).__get__(self.module)

    @property
    def attached(self) -> AttachedReduction | None:
        """The reduction that is attached to the model; None without one."""
        attachment = Attachment.of(self.module)
        return None if attachment is None else attachment.attached

    @property
    def kernel(self) -> str:
        """The attention kernel that the model runs on: that of its reduction, `auto` without one."""
        attachment = Attachment.of(self.module)
        return "auto" if attachment is None else attachment.kernel

    def attach(self, attached: AttachedReduction, kernel: str = "auto") -> None:
        """Attach a reduction. Raises ReductionError where a method to replace is overridden on the instance."""
        Attachment(attached=attached, kernel=kernel, encoder=self.encoder).put_on(self.module, type(self))

    def detach(self) -> None:
        """Detach the reduction; the model is then exactly what it was before."""
        Attachment.take_off(self.module)


def weighted_mean(x: Tensor, size: Tensor | None) -> Tensor:
    """Average tokens by the number of original tokens in each: (b, p, d), (b, p) or None -> (b, d)."""
    if size is None:
        return x.mean(1)
    wide = x if x.dtype.itemsize >= size.dtype.itemsize else x.to(size.dtype)
    return ((wide * size.unsqueeze(-1)).sum(1) / size.sum(1, keepdim=True)).to(x.dtype)
