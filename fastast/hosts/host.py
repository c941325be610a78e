"""Host: a model that FastAST did not build, as a reduction sees it.

Shapes: `b` batch, `n` tokens, `p` tokens that are left, `h` heads, `e` width of a head, `d` width.

Adapters hold nothing but the model and are made anew in every forward, so that copies and replicas of a model run on
their own weights.
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
    """A block of a host, taken apart where tokens are reduced: between attention and MLP."""

    elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Modules of the block, by their names in it, that are honoured without being called."""

    def __init__(self, module: nn.Module) -> None:
        """`module` is the host's own block: called with tokens (b, n, d), it returns tokens (b, n, d)."""
        self.module: Any = module

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """x: (b, n, d), size: (b, n) or None -> what attention adds, (b, n, d), and q, k, v, (b, h, n, e) each.

        Norm, attention to every token in proportion to its size, projection, layer scale, drop path; all but the
        residual sum. `fastast.proportional_attention(q, k, v, size, kernel=kernel)` is the attention.
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
    """An adapter: what FastAST must know of a model, and the forward that takes the place of the model's own."""

    replaces: ClassVar[tuple[str, ...]] = ("forward",)
    """Methods of the module whose place the adapter's methods of the same names take while a reduction is attached.

    Empty for a model that honours a reduction by itself: there is then nothing to hold against its own forward."""

    def __init__(self, model: nn.Module) -> None:
        """Raises ReductionError, naming the module that cannot be honoured, for a model that cannot be adapted."""
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
        """The blocks, in their order."""
        raise NotImplementedError

    def example(self) -> tuple[Tensor, ...]:
        """Random arguments of the model's forward, one clip; dtype and device do not matter."""
        raise NotImplementedError

    @property
    def fbank_shape(self) -> tuple[int, int]:
        """Frames and mel bins of the filterbank that the model takes."""
        shape = self.example()[0].shape
        if len(shape) != 3:
            raise ReductionError(
                f"hosts: {type(self).__qualname__} takes no filterbank (1, frames, mel bins) but {tuple(shape)}; where "
                "its input can be made of one, give the adapter fbank_shape, logits and tokens_of"
            )
        return shape[1], shape[2]

    def logits(self, fbank: Tensor) -> Tensor:
        """Run the model on a normalised filterbank (b, frames, mel bins); return its logits (b, classes)."""
        logits: Tensor = self.model(fbank)
        return logits

    def tokens_of(self, fbank: Tensor) -> Tensor:
        """Return the tokens that enter the first block of a filterbank, (b, frames, mel bins) -> (b, n, d)."""
        return self.embed(fbank)

    def embed(self, x: Tensor) -> Tensor:
        """What the model takes -> the tokens that enter the first block, (b, n, d)."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model's own forward computes, with `self.encode` in the place of its blocks."""
        raise NotImplementedError

    def packable(self) -> str:
        """Why the engine's kernels cannot take the model's weights, as a sentence; empty where they can."""
        return f"the adapter {type(self).__qualname__} packs no weights"

    def layers(self, block: int) -> BlockLayers:
        """Return the weights of a block in the form that the engine packs; gradients flow through them."""
        raise NotImplementedError

    def ends(self) -> EndLayers:
        """Return the weights before and behind the blocks in the form that the engine packs."""
        raise NotImplementedError

    def encode(
        self, x: Tensor, *, blocks: Sequence[HostBlock] | None = None, trace: MergeTrace | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the blocks with the attached reduction, or none: (b, n, d) -> tokens (b, p, d) and sizes (b, p) or None.

        `blocks` are the host's own unless given; `trace` notes every merge. Sizes are None where nothing was merged,
        and where the reduction asks for pooling that does not weigh tokens by them.
        Raises ReductionError where the reduction was attached to an encoder of another shape than the model has now.
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
        """The reduction that is attached to the model."""
        attachment = Attachment.of(self.module)
        return None if attachment is None else attachment.attached

    @property
    def kernel(self) -> str:
        """The attention kernel that the model runs on: that of its reduction, `auto` without one."""
        attachment = Attachment.of(self.module)
        return "auto" if attachment is None else attachment.kernel

    def attach(self, attached: AttachedReduction, kernel: str = "auto") -> None:
        """Put a reduction on the model. Raises ReductionError where its forward is overridden on the instance."""
        Attachment(attached=attached, kernel=kernel, encoder=self.encoder).put_on(self.module, type(self))

    def detach(self) -> None:
        """Take the reduction off; the model is what it was, to the last bit."""
        Attachment.take_off(self.module)


def weighted_mean(x: Tensor, size: Tensor | None) -> Tensor:
    """Average tokens by the number of original tokens in each: (b, p, d), (b, p) or None -> (b, d)."""
    if size is None:
        return x.mean(1)
    wide = x if x.dtype.itemsize >= size.dtype.itemsize else x.to(size.dtype)
    return ((wide * size.unsqueeze(-1)).sum(1) / size.sum(1, keepdim=True)).to(x.dtype)
