"""Reducer: reduces the tokens of one forward pass and keeps track of what becomes of them.

Shapes: `b` batch, `n` tokens, `p` remaining tokens, `h` heads, `e` width of a head, `d` width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from fastast.reduction.forward.buckets import Bucket, buckets
from fastast.reduction.forward.lineage import Lineage
from fastast.reduction.tokens import BlockTokens

if TYPE_CHECKING:
    from fastast.reduction.forward.attach import AttachedReduction
    from fastast.reduction.forward.scope import Scope
    from fastast.reduction.forward.stages import BlockStages, HeadTensors


class Reducer:
    """Reduces tokens on their way through the blocks; keeps their sizes and their lineage."""

    size: Tensor | None
    """(b, n) number of original tokens in each; None where every token is one."""

    def __init__(self, stages: BlockStages, attached: AttachedReduction | None, scope: Scope) -> None:
        """Start with the tokens that enter the first block."""
        self.stages, self.attached, self.scope = stages, attached, scope
        self._places = Lineage(stages.shape.num_prefix_tokens, stages.shape.grid)
        self.size = None

    @property
    def weights(self) -> Tensor | None:
        """Sizes that weight the keys in attention, (b, n); None where sizes do not count there."""
        return self.size if self.attached is not None and self.attached.reduction.proportional else None

    def buckets(self) -> list[Bucket]:
        """Sort the clips into buckets of similar length; none without a threshold, or where it would wait for a GPU."""
        adaptive = self.attached is not None and self.attached.reduction.threshold is not None
        return buckets(self.size) if adaptive and self.size is not None and self.size.device.type == "cpu" else []

    def part(self, bucket: Bucket) -> Reducer:
        """Return a reducer for the clips of a bucket from here on."""
        assert self.size is not None
        part = Reducer(self.stages, self.attached, self.scope)
        part.size, part._places = bucket.of(self.size), self._places.part(bucket, len(self.size))
        return part

    def attend(
        self, block: int, x: Tensor, normed: Tensor, *, r: int, keep: bool
    ) -> tuple[Tensor, Tensor, HeadTensors | None, Any]:
        """Run a block up to its MLP; return tokens (b, p, d), what the MLP reads of them, heads to keep, and any plan.

        A function of its own, so that heads and branches are freed before the MLP needs its memory.
        """
        with self.scope(block, "attention"):
            branch, heads = self.stages.attention(block, normed, self.weights)
        if r == 0:
            x, normed = self.stages.add(block, x, branch)
            return x, normed, heads if keep else None, None
        x, normed, plan = self._reduce(self._tokens(block, x, branch, heads), r)
        return x, normed, None, plan

    def reduce_behind(
        self, block: int, r: int, passed: tuple[Tensor, HeadTensors] | None, x: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """Reduce the tokens x (b, n, d) after a block. passed: what entered that block, and its heads.

        `passed` is None before the first block. Returns tokens (b, p, d), what is read of them, and the plan.
        """
        before, heads = (x, None) if passed is None else passed
        return self._reduce(self._tokens(block, before, None, heads, after=x), r)

    def _reduce(self, tokens: BlockTokens, r: int) -> tuple[Tensor, Tensor, Any]:
        assert self.attached is not None
        with self.scope(tokens.block, "plan"):
            plan = self.stages.choose(tokens, r, self.attached)
        with self.scope(tokens.block, "merge"):
            x, normed, size = self.stages.merge(tokens, plan, self.attached.reduction)
        self._places, self.size = self._places.merged(plan, self.size), size
        return x, normed, plan

    def _tokens(
        self,
        block: int,
        before: Tensor,
        branch: Tensor | None,
        heads: HeadTensors | None,
        *,
        after: Tensor | None = None,
    ) -> BlockTokens:
        assert self.attached is not None
        return BlockTokens(
            before,
            branch,
            heads,
            self.size,
            after=after,
            shape=self.stages.shape,
            num_protected=self.attached.num_protected,
            block=block,
            place=self.attached.reduction.place,
            lineage=self._places,
            seed=self.attached.reduction.seed,
            proportional=self.attached.reduction.proportional,
            threshold=self.attached.reduction.threshold,
        )
