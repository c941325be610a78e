"""The one forward over the blocks of an encoder: inference, training and profiling, on modules or on kernels.

Shapes: `b` batch, `n` tokens that enter a block, `p` tokens that leave it, `h` heads, `e` width of a head, `d` = h e.

What a block consists of is up to its `BlockStages`; that tokens go between attention and MLP is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from fastast.encoder import EncoderShape
from fastast.reduction.lineage import Lineage
from fastast.reduction.scope import Scope, unwatched
from fastast.reduction.tokens import BlockTokens

if TYPE_CHECKING:
    from fastast.reduction.attach import AttachedReduction
    from fastast.reduction.plan import MergePlan
    from fastast.reduction.spec import TokenReduction
    from fastast.reduction.trace import MergeTrace

HeadTensors = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, (b, h, n, e) each."""


class BlockStages(Protocol):
    """The stages of every block, which is counted from 0.

    `x` are tokens (b, n, d), `normed` is what the next stage reads of them: their LayerNorm where stages fuse it with
    the residual sum before it, or the tokens themselves where a stage normalises what it reads.
    """

    shape: EncoderShape
    """The encoder's."""

    def open(self, x: Tensor) -> Tensor:
        """Return what the first block's attention reads of the tokens that enter it."""
        ...

    def attention(self, block: int, normed: Tensor, size: Tensor | None) -> tuple[Tensor, HeadTensors]:
        """Return what attention adds to the tokens, and its queries, keys and values; sizes weigh its keys."""
        ...

    def add(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch, and what the MLP reads of it."""
        ...

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> Any:
        """Return the plan that removes `r` tokens, in the form that `merge` takes.

        Without gradients: a choice is discrete, and they flow through the averages.
        """
        ...

    def merge(self, tokens: BlockTokens, plan: Any, reduction: TokenReduction) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the tokens (b, p, d) that a plan leaves, what the MLP reads of them, and their sizes."""
        ...

    def mlp(self, block: int, normed: Tensor) -> Tensor:
        """Return what the MLP adds to the tokens."""
        ...

    def close(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch, and what is read of it: by the next block's attention, or by the head."""
        ...

    def finish(self, x: Tensor, normed: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Run attention and sum of the last block for the tokens that the head reads; None to run it for all."""
        ...


def encode(
    stages: BlockStages,
    x: Tensor,
    attached: AttachedReduction | None,
    *,
    trace: MergeTrace | None = None,
    scope: Scope = unwatched,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run every block on x (b, n, d); return the tokens (b, p, d), what the head reads of them, and sizes (b, p).

    `trace` notes every merge, and the tokens of every block that computes all of them. `scope` is shown every part.
    """
    shape, size = stages.shape, None
    removals = attached.removals if attached else (0,) * shape.depth
    proportional = attached is not None and attached.reduction.proportional
    places = Lineage(shape.num_prefix_tokens, shape.grid)
    normed = stages.open(x)
    for block, r in enumerate(removals):
        with scope(block, ""):
            weighted, num_tokens = size if proportional else None, x.shape[1]
            plan, short = None, None
            if block == shape.depth - 1 and (attached is None or attached.spares_the_head(shape)):
                with scope(block, "attention"):
                    short = stages.finish(x, normed, weighted)
            if short is not None:
                x, normed = short
            else:
                x, normed, plan, new_size = _attend_and_reduce(
                    stages, x, normed, size, weighted, block=block, r=r, attached=attached, places=places, scope=scope
                )
                if plan is not None:
                    places, size = places.merged(plan, size), new_size
            with scope(block, "mlp"):
                branch = stages.mlp(block, normed)
            x, normed = stages.close(block, x, branch)
            if trace is not None and short is None:
                trace.add(plan, num_tokens, x)
    return x, normed, size


def _attend_and_reduce(
    stages: BlockStages,
    x: Tensor,
    normed: Tensor,
    size: Tensor | None,
    weighted: Tensor | None,
    *,
    block: int,
    r: int,
    attached: AttachedReduction | None,
    places: Lineage,
    scope: Scope,
) -> tuple[Tensor, Tensor, Any, Tensor | None]:
    """Run a block up to its MLP: tokens (b, p, d), what the MLP reads of them, the plan or None, and sizes.

    A function of its own, so that heads and branches are freed before the MLP needs its memory.
    """
    with scope(block, "attention"):
        branch, heads = stages.attention(block, normed, weighted)
    if attached is None or r == 0:
        x, normed = stages.add(block, x, branch)
        return x, normed, None, size
    tokens = BlockTokens(
        x,
        branch,
        heads,
        size,
        shape=stages.shape,
        num_protected=attached.num_protected,
        block=block,
        lineage=places,
        seed=attached.reduction.seed,
        proportional=attached.reduction.proportional,
    )
    with scope(block, "plan"):
        plan = stages.choose(tokens, r, attached)
    with scope(block, "merge"):
        x, normed, size = stages.merge(tokens, plan, attached.reduction)
    return x, normed, plan, size


class BlockAdapter(Protocol):
    """A block made of modules, as a model in plain torch has it."""

    def attention(self, x: Tensor, size: Tensor | None, kernel: str) -> tuple[Tensor, HeadTensors]:
        """x: (b, n, d), size: (b, n) or None -> what attention adds (b, n, d), and its heads.

        Norm, attention weighted by size, projection, layer scale and drop path; all but the residual sum.
        """
        ...

    def mlp_branch(self, x: Tensor) -> Tensor:
        """x: (b, n, d) -> what the MLP adds: norm, MLP, layer scale and drop path; all but the residual sum."""
        ...


class ModuleStages:
    """The stages of blocks made of modules, in plain torch: every stage normalises what it reads."""

    def __init__(self, shape: EncoderShape, blocks: list[BlockAdapter], kernel: str = "auto") -> None:
        """`kernel` is that of `fastast.attention`."""
        self.shape, self._blocks, self._kernel = shape, blocks, kernel

    def open(self, x: Tensor) -> Tensor:
        """Return the tokens themselves."""
        return x

    def attention(self, block: int, normed: Tensor, size: Tensor | None) -> tuple[Tensor, HeadTensors]:
        """Return what the block's attention adds, and its heads."""
        return self._blocks[block].attention(normed, size, self._kernel)

    def add(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch twice."""
        x = x + branch
        return x, x

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> MergePlan:
        """Return the method's plan."""
        _ = tokens.after  # what is merged is made with its gradients, before a method looks at it without them
        with torch.no_grad():
            return attached.choose(tokens, r)

    def merge(
        self, tokens: BlockTokens, plan: MergePlan, reduction: TokenReduction
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Merge the tokens behind the attention."""
        x, size = plan.merge(tokens.after, tokens.size, reduction.combining)
        return x, x, size

    def mlp(self, block: int, normed: Tensor) -> Tensor:
        """Return what the block's MLP adds."""
        return self._blocks[block].mlp_branch(normed)

    def close(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch twice."""
        return self.add(block, x, branch)

    def finish(self, x: Tensor, normed: Tensor, size: Tensor | None) -> None:
        """Leave the last block to run for all tokens."""
        return
