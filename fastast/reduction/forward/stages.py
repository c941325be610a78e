"""The stages of a block, which the one forward pass (`encode`) runs, and those of blocks made of modules.

Shapes: `b` batch, `n` tokens that enter a block, `p` tokens that leave it, `h` heads, `e` width of a head, `d` = h e.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from fastast.encoder import EncoderShape

if TYPE_CHECKING:
    from fastast.reduction.forward.attach import AttachedReduction
    from fastast.reduction.plan import MergePlan
    from fastast.reduction.spec import TokenReduction
    from fastast.reduction.tokens import BlockTokens

HeadTensors = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, (b, h, n, e) each."""


class BlockStages(Protocol):
    """The stages of every block; blocks are counted from 0.

    `x` are tokens (b, n, d), and `normed` is what the next stage reads of them: their LayerNorm where stages fuse it
    with the residual sum before it, or the tokens themselves where a stage normalises what it reads.
    """

    shape: EncoderShape
    """Shape of the encoder."""

    def open(self, x: Tensor) -> Tensor:
        """Return what the first block's attention reads of the tokens that enter it."""
        ...

    def attention(self, block: int, normed: Tensor, size: Tensor | None) -> tuple[Tensor, HeadTensors]:
        """Return what attention adds to the tokens, and its queries, keys and values; sizes weight its keys."""
        ...

    def add(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch, and what the MLP reads of it."""
        ...

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> Any:
        """Return the plan that removes `r` tokens, in the form that `merge` takes.

        Without gradients, because a choice is discrete; they flow through the averages.
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
        """Run the last block's attention and sum for the tokens that the head reads; return None to run all tokens."""
        ...


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
        """`kernel` names a kernel of `fastast.attention`."""
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
        _ = tokens.after  # what is merged is computed with gradients, before a method reads it without
        with torch.no_grad():
            return attached.choose(tokens, r)

    def merge(
        self, tokens: BlockTokens, plan: MergePlan, reduction: TokenReduction
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Merge the tokens where the block reduces them."""
        x, size = plan.merge(tokens.after, tokens.size, reduction.combining)
        return x, x, size

    def mlp(self, block: int, normed: Tensor) -> Tensor:
        """Return what the block's MLP adds."""
        return self._blocks[block].mlp_branch(normed)

    def close(self, block: int, x: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return x + branch twice."""
        return self.add(block, x, branch)

    def finish(self, x: Tensor, normed: Tensor, size: Tensor | None) -> None:
        """Return None: the last block runs for all tokens."""
        return
