"""MergeTrace: where every original token is after each block.

Shapes: `b` batch, `n` original tokens, `p` remaining tokens, `d` width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastast.reduction.plan import MergePlan

if TYPE_CHECKING:
    from fastast.reduction.forward.lineage import AsPlan


@dataclass(kw_only=True)
class MergeTrace:
    """A record of one forward pass, which the model fills when it is given one."""

    source: list[Tensor] = field(default_factory=list)
    """For each block, the token after it that holds each original token, (b, n) int32; -1 for a dropped token."""
    tokens_per_block: list[int] = field(default_factory=list)
    """Number of tokens that left each block, as measured."""

    def counts(self) -> Tensor:
        """Return how many tokens each clip had after each block, (b, blocks) int64.

        Fewer than left the block where a clip is padded, as with a threshold.
        """
        pairs = zip(self.source, self.tokens_per_block, strict=True)
        return torch.stack([(source_sizes(source, left) > 0).sum(dim=1) for source, left in pairs], dim=1)

    def add(self, plan: MergePlan | AsPlan | None, num_tokens: int, left: Tensor) -> None:
        """Record a block that `num_tokens` entered and (b, p, d) left; `plan` is None where it removed nothing."""
        batch, device = left.shape[0], left.device
        if self.source:
            previous = self.source[-1]
        else:
            previous = torch.arange(num_tokens, dtype=torch.int32, device=device).expand(batch, -1)
        self.tokens_per_block.append(left.shape[1])
        if plan is None:
            self.source.append(previous)
            return
        known = plan if isinstance(plan, MergePlan) else plan.to_merge_plan()
        slot = known.slot(batch, device).to(torch.int32)  # (b, tokens that entered)
        moved = slot.gather(1, previous.clamp_min(0).long())
        self.source.append(torch.where(previous < 0, previous, moved))


def source_sizes(source: Tensor, num_slots: int) -> Tensor:
    """Return how many original tokens each slot holds, (b, n) int -> (b, p) int64."""
    kept = (source >= 0).long()
    return kept.new_zeros(source.shape[0], num_slots).scatter_add(1, source.clamp_min(0).long(), kept)


def unmerge(x: Tensor, source: Tensor) -> Tensor:
    """Give every original token the features of the token that holds it, (b, p, d) -> (b, n, d).

    A dropped token gets zeros.
    """
    index = source.clamp_min(0).long()[..., None].expand(-1, -1, x.shape[-1])
    return x.gather(1, index) * (source >= 0)[..., None]
