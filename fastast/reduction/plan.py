"""MergePlan: where every token of a block goes, and the one way to apply it.

Shapes: `b` batch, `n` tokens in, `p` output slots (tokens out), `r` merged tokens, `d` width.

A plan is a partition. Every output slot has one *owner*, a token that stays; a *merged* token joins the
slot of an owner; a token that is neither is dropped. Averages are weighted by size, written as a sum: exporters
translate a scatter with "mean" wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """Which tokens stay, which join them, and in which order they leave the block."""

    num_tokens: int
    """Tokens `n` that enter."""
    owner: Tensor | slice
    """(b, p) int64, the token that owns each output slot; or a slice, the same range for every clip."""
    merged: Tensor | None = None
    """(b, r) int64, the tokens that join a slot; None where no token is merged."""
    target: Tensor | None = None
    """(b, r) int64, the slot that each merged token joins."""

    @property
    def num_slots(self) -> int:
        """Tokens `p` that leave."""
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
        return out.scatter_add(1, _index_like(self.target, x), take_rows(x, self.merged))

    def merge_sizes(self, size: Tensor | None, batch: int, device: torch.device) -> Tensor | None:
        """Return the slots' sizes, (b, p) float32; None stays None where nothing is merged."""
        if size is None:
            if self.merged is None:
                return None
            size = torch.ones(batch, self.num_tokens, device=device)
        return self.sum(size)

    def merge(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Average `x` over every slot, weighted by size.

        x: (b, n, d). size: (b, n) float32 or None (all ones). Returns (b, p, d) in the dtype of `x` and the
        slots' sizes, (b, p) float32 or None. Sizes stay float32: bfloat16 loses integers above 256.
        """
        new_size = self.merge_sizes(size, x.shape[0], x.device)
        if self.merged is None or self.target is None:
            return self.take_owners(x), new_size
        assert new_size is not None
        wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        out, joining = self.take_owners(x).to(wide), take_rows(x, self.merged).to(wide)  # (b, p, d), (b, r, d)
        if isinstance(self.owner, slice):
            out = out.clone()  # a view of x so far
        # The average as the owner plus what each joining token moves it by: a slot that none joins is left alone.
        share = new_size.gather(1, self.target).to(wide).reciprocal_()  # (b, r)
        if size is not None:
            share = share.mul_(size.gather(1, self.merged))
        joining = joining.sub_(take_rows(out, self.target)).mul_(share.unsqueeze(-1))
        out = out.scatter_add_(1, _index_like(self.target, joining), joining)  # (b, p, d)
        return out.to(x.dtype), new_size

    def slot(self, batch: int, device: torch.device) -> Tensor:
        """Return the slot of every token, (b, n) int64; -1 for a dropped token."""
        slot = torch.full((batch, self.num_tokens), -1, dtype=torch.int64, device=device)
        order = torch.arange(self.num_slots, device=device).expand(batch, -1)
        if isinstance(self.owner, slice):
            slot[:, self.owner] = order
        else:
            slot = slot.scatter(1, self.owner, order)
        if self.merged is not None and self.target is not None:
            slot = slot.scatter(1, self.merged, self.target)
        return slot


def _index_like(index: Tensor, x: Tensor) -> Tensor:
    """Broadcast an index (b, k) over the trailing axes of `x`."""
    return index.reshape(*index.shape, *[1] * (x.ndim - 2)).expand(*index.shape, *x.shape[2:])


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Return rows `index` (b, k) of `x` (b, n, ...), (b, k, ...)."""
    if x.ndim == 2:
        return x.gather(1, index)
    # Whole rows of one flat list are copied; a gather would look up the row anew for every number.
    b, n = x.shape[:2]
    first = torch.arange(b, device=index.device).unsqueeze(-1) * n  # (b, 1)
    return x.flatten(0, 1).index_select(0, (index + first).flatten()).unflatten(0, index.shape)
