"""FlatPlan: a merge plan as flat lists that a GPU can read slot by slot.

Shapes: `b` batch, `n` tokens in, `p` slots (tokens out), `m` = n - p tokens that own no slot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastast.reduction.plan import DROPPED, MergePlan


@dataclass(frozen=True, kw_only=True)
class FlatPlan:
    """A partition of the tokens into slots: each slot has an owner and a range in a list of the other tokens."""

    owner: Tensor
    """(b, p) int32, the token that owns each slot."""
    start: Tensor
    """(b, p + 1) int32, where each slot's range in `source` begins; it ends where the next one begins."""
    source: Tensor
    """(b, m) int32, the tokens that own no slot, ordered by slot and then by position, dropped tokens last."""
    lists: bool = True
    """Whether `source` holds real token positions; where no token joins another it is never read, and holds zeros."""
    drops: bool = False
    """Whether any token may be dropped."""
    weight: Tensor | None = None
    """(b, n) float32, the weight of every token in the average of its slot; None leaves it to `combine`."""

    @classmethod
    def of(cls, plan: MergePlan, batch: int, device: torch.device) -> FlatPlan:
        """Return `plan` in this form; shapes depend only on the plan's shapes, so a CUDA graph can capture this."""
        n, p = plan.num_tokens, plan.num_slots
        if isinstance(plan.owner, slice):
            owner = torch.arange(n, device=device)[plan.owner].expand(batch, -1)
        else:
            owner = plan.owner
        start = torch.zeros(batch, p + 1, dtype=torch.int32, device=device)
        if plan.merged is None or plan.target is None:
            source = torch.zeros(batch, n - p, dtype=torch.int32, device=device)
            lists, drops = False, n > p
        else:
            lists, drops = True, plan.drops
            target = torch.where(plan.target < 0, p, plan.target) if drops else plan.target  # (b, m), dropped ones last
            # Ordered by slot, then position, in whatever order the method listed them: sums repeat bit for bit.
            source = plan.merged.gather(1, (target * n + plan.merged).argsort(dim=1)).to(torch.int32)
            joining = torch.zeros(batch, p + 1, dtype=torch.int32, device=device)
            joining = joining.scatter_add(1, target, torch.ones_like(target, dtype=torch.int32))
            start[:, 1:] = joining[:, :p].cumsum(1)
        return cls(
            owner=owner.to(torch.int32).contiguous(),
            start=start,
            source=source.contiguous(),
            lists=lists,
            drops=drops,
            weight=None if plan.weight is None else plan.weight.contiguous(),
        )

    @property
    def num_tokens(self) -> int:
        """Number of tokens `n` that enter."""
        return self.owner.shape[1] + self.source.shape[1]

    @property
    def num_slots(self) -> int:
        """Number of tokens `p` that leave."""
        return self.owner.shape[1]

    @property
    def target(self) -> Tensor:
        """(b, m) int64, the slot of every token of `source`, DROPPED for those in no range."""
        b, m = self.source.shape
        position = torch.arange(m, dtype=torch.int32, device=self.source.device).expand(b, -1).contiguous()
        target = torch.searchsorted(self.start[:, 1:].contiguous(), position, right=True)  # (b, m)
        return torch.where(target == self.num_slots, DROPPED, target) if self.drops else target

    def to_merge_plan(self) -> MergePlan:
        """Return the same partition in the form that the plain-torch path uses."""
        listed = self.source.shape[1] if self.lists else 0
        return MergePlan(
            num_tokens=self.num_tokens,
            owner=self.owner.long(),
            merged=self.source[:, :listed].long(),
            target=self.target[:, :listed],
            drops=self.drops,
            weight=self.weight,
        )

    def owners_alone(self) -> FlatPlan:
        """Return the plan in which every slot holds its owner alone and all other tokens are dropped."""
        return replace(self, start=torch.zeros_like(self.start), drops=self.source.shape[1] > 0, weight=None)

    def sum(self, x: Tensor) -> Tensor:
        """Sum whole numbers x (b, n) over every slot, (b, p), exactly: a range's sum is a difference of prefix sums."""
        before = torch.nn.functional.pad(x.gather(1, self.source.long()).cumsum(1), (1, 0))  # (b, m + 1)
        ends = before.gather(1, self.start.long())  # (b, p + 1)
        return x.gather(1, self.owner.long()) + ends[:, 1:] - ends[:, :-1]
