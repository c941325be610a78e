"""MergePlan: where every token of a block goes, and the one way to apply it.

Shapes: `b` batch, `n` tokens in, `p` output slots (tokens out), `m` = n - p tokens that own no slot, `d` width.

A plan is a partition. Every output slot has one *owner*, a token that stays; any other token joins the slot of an owner
or is dropped. How the tokens of a slot become one is up to `fastast.reduction.combine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastast.reduction.combine import Combine, blend, index_like, take_rows
from fastast.reduction.options import ReductionError

DROPPED = -1
"""Stands for the slot of a dropped token."""


class PlanError(ReductionError):
    """A plan that is not valid; a message about slots alone says what they are, to complete "block 3 got ..."."""


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """Which tokens stay, which join them, and in which order they leave the block."""

    num_tokens: int
    """Number of tokens `n` that enter."""
    owner: Tensor | slice
    """(b, p) int64, the token that owns each output slot; or a slice, the same range for every clip."""
    merged: Tensor | None = None
    """(b, m) int64, the tokens that own no slot; None where all of them are dropped."""
    target: Tensor | None = None
    """(b, m) int64, the slot that each of these joins, or DROPPED."""
    drops: bool = False
    """Whether `target` may hold DROPPED; what cannot occur need not be checked for."""
    weight: Tensor | None = None
    """(b, n) float32 of at least 0, the weight of every token in its slot's average; None leaves it to `combine`."""

    @classmethod
    def from_slots(cls, slot: Tensor, num_slots: int, *, weight: Tensor | None = None, drops: bool = True) -> MergePlan:
        """Return the plan that sends every token to a slot; the first token of a slot owns it.

        slot: (b, n) int64 of 0 to num_slots - 1, or DROPPED; every slot must have a token in every clip. `weight` as in
        the plan. `drops=False` promises that no token is dropped. Raises PlanError where `slot` is not such a tensor or
        a slot has no token; where the host cannot read values (on a GPU, in a compiled graph), the device raises.
        """
        if slot.ndim != 2 or slot.dtype != torch.int64:
            raise PlanError(f"slots that are {slot.dtype} of shape {tuple(slot.shape)}; they must be int64 (b, n)")
        b, n = slot.shape
        if not 1 <= num_slots <= n:
            raise PlanError(f"{num_slots} slots for {n} tokens; give 1 to {n}")
        positions = torch.arange(n, device=slot.device).expand(b, -1)
        home = torch.where(slot < 0, num_slots, slot) if drops else slot  # (b, n); the dropped share an extra slot
        home = home.clamp(0, num_slots)  # slots out of range are not lost: `target` keeps them, and a check finds them
        first = torch.full((b, num_slots + 1), n, dtype=torch.int64, device=slot.device)
        owner = first.scatter_reduce(1, home, positions, "amin")[:, :num_slots]  # (b, p), n where there is no token
        _refuse_empty(owner, n)
        owns = torch.zeros_like(slot).scatter(1, owner.clamp_max(n - 1), 1)  # (b, n), 1 for owners
        merged = owns.argsort(dim=1, stable=True)[:, : n - num_slots]  # (b, m), by position
        return cls(num_tokens=n, owner=owner, merged=merged, target=slot.gather(1, merged), drops=drops, weight=weight)

    @property
    def num_slots(self) -> int:
        """Number of tokens `p` that leave."""
        if isinstance(self.owner, slice):
            return len(range(*self.owner.indices(self.num_tokens)))
        return self.owner.shape[1]

    def take_owners(self, x: Tensor) -> Tensor:
        """Return the owners' rows of `x`: (b, n, ...) -> (b, p, ...)."""
        if isinstance(self.owner, slice):
            return x[:, self.owner]
        return take_rows(x, self.owner)

    def sum(self, x: Tensor) -> Tensor:
        """Sum `x` over every slot: (b, n, ...) -> (b, p, ...)."""
        out = self.take_owners(x)
        if self.merged is None or self.target is None:
            return out
        joining = take_rows(x, self.merged)
        if self.drops:
            joining = joining * index_like(self.target >= 0, joining)
        return out.scatter_add(1, index_like(self.joined, joining), joining)

    @property
    def joined(self) -> Tensor:
        """(b, m) int64, the slots of `merged`; for a dropped token an arbitrary one, to which it must add nothing."""
        assert self.target is not None
        return self.target.clamp_min(0) if self.drops else self.target

    def merge_sizes(self, size: Tensor | None, batch: int, device: torch.device) -> Tensor | None:
        """Return the slots' sizes, (b, p) float32; None stays None where nothing is merged."""
        if size is None:
            if self.merged is None:
                return None
            size = torch.ones(batch, self.num_tokens, device=device)
        return self.sum(size)

    def merge(self, x: Tensor, size: Tensor | None, combine: Combine = "size") -> tuple[Tensor, Tensor | None]:
        """Combine the tokens of every slot into one.

        x: (b, n, d). size: (b, n) float32 or None (all ones). Returns (b, p, d) in the dtype of `x` and the
        slots' sizes, (b, p) float32 or None. Sizes stay float32: bfloat16 loses integers above 256.
        """
        new_size = self.merge_sizes(size, x.shape[0], x.device)
        if self.merged is None or self.target is None or combine == "keep":
            return self.take_owners(x), new_size
        weight, total = self._weights(size, new_size, combine)
        wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        owners, joining = self.take_owners(x).to(wide), take_rows(x, self.merged).to(wide)  # (b, p, d), (b, m, d)
        if isinstance(self.owner, slice):
            owners = owners.clone()  # a view of x so far
        share = total.gather(1, self.joined).to(wide).reciprocal_()  # (b, m)
        if weight is not None:
            share = share.mul_(weight.gather(1, self.merged))
        stays = self.target >= 0 if self.drops else None
        out = blend(owners, joining, self.joined, share, stays, as_long=combine == "norm")
        return out.to(x.dtype), new_size

    def _weights(self, size: Tensor | None, new_size: Tensor | None, combine: Combine) -> tuple[Tensor | None, Tensor]:
        """Return the weight of every token in its slot's average, (b, n) or None (all ones), and their sums, (b, p)."""
        if self.weight is not None:
            return self.weight, self.sum(self.weight).clamp_min(torch.finfo(torch.float32).tiny)
        if combine == "mean" and size is not None:
            return None, self.sum(torch.ones_like(size))
        assert new_size is not None
        return size, new_size

    def slot(self, batch: int, device: torch.device) -> Tensor:
        """Return the slot of every token, (b, n) int64; -1 for a dropped token."""
        slot = torch.full((batch, self.num_tokens), DROPPED, dtype=torch.int64, device=device)
        order = torch.arange(self.num_slots, device=device).expand(batch, -1)
        if isinstance(self.owner, slice):
            slot[:, self.owner] = order
        else:
            slot = slot.scatter(1, self.owner, order)
        if self.merged is not None and self.target is not None:
            slot = slot.scatter(1, self.merged, self.target)
        return slot


def _refuse_empty(owner: Tensor, num_tokens: int) -> None:
    """Raise where a slot in `owner` (b, p) has no token, in any plan: another clip's token would take its place.

    Does not make the host wait for a GPU, and works in compiled and captured graphs.
    """
    if owner.is_meta or torch.compiler.is_exporting():
        return
    if owner.device.type == "cpu" and not torch.compiler.is_compiling() and type(owner) is Tensor:
        if owner.numel() and int(owner.max()) >= num_tokens:
            clip, slot = (owner >= num_tokens).nonzero()[0].tolist()
            raise PlanError(f"slots of which {slot} has no token in clip {clip}; every slot needs one in every clip")
        return
    torch._assert_async((owner < num_tokens).all(), "MergePlan.from_slots: a slot has no token")
