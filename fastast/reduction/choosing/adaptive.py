"""Plans with a threshold: every clip merges as many pairs as are similar enough, yet batches stay rectangular.

Shapes: `b` clips, `n` tokens in, `p` output slots, `m` candidates, `d` width.

A batch keeps as many slots as the clip that merged least has tokens, and all other clips are padded with slots of size
0: attention ignores them, no pair includes one, and they add nothing to a mean weighted by size. A clip's output is
therefore what it would be alone, and padding costs only time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastast.reduction.combine import Combine, blend, index_like, take_rows
from fastast.reduction.plan import DROPPED, MergePlan


@dataclass(frozen=True, kw_only=True)
class AdaptivePlan(MergePlan):
    """A plan whose candidates, `merged`, may or may not join their partners; slots after a clip's own have size 0."""

    partner: Tensor
    """(b, m) int64, the token that each candidate would join."""
    goes: Tensor
    """(b, m) bool, whether it does."""

    def sum(self, x: Tensor) -> Tensor:
        """Sum `x` over every slot: (b, n, ...) -> (b, p, ...); empty slots get 0."""
        joining = take_rows(x, self._candidates)
        joining = joining * index_like(self.goes, joining)
        moved = x.scatter_add(1, index_like(self.partner, joining), joining)
        moved = moved.scatter_add(1, index_like(self._candidates, joining), -joining)
        return self.take_owners(moved)

    def merge(self, x: Tensor, size: Tensor | None, combine: Combine = "size") -> tuple[Tensor, Tensor | None]:
        """Return one token for every slot, (b, n, d) -> (b, p, d), and its size, (b, p) float32."""
        new_size = self.merge_sizes(size, x.shape[0], x.device)
        if combine == "keep":
            return self.take_owners(x), new_size
        weight = size if size is not None and combine != "mean" else torch.ones(x.shape[:2], device=x.device)
        mine = weight.gather(1, self._candidates)  # (b, m)
        total = weight.scatter_add(1, self.partner, mine * self.goes)  # (b, n)
        wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        share = (mine / total.gather(1, self.partner)).to(wide)
        owners, joining = x.to(wide, copy=True), take_rows(x, self._candidates).to(wide)
        out = blend(owners, joining, self.partner, share, self.goes, as_long=combine == "norm")  # (b, n, d)
        return self.take_owners(out).to(x.dtype), new_size

    def slot(self, batch: int, device: torch.device) -> Tensor:
        """Return the slot of every token, (b, n) int64, which is arbitrary for tokens of size 0."""
        slot = torch.full((batch, self.num_tokens), DROPPED, dtype=torch.int64, device=device)
        slot = slot.scatter(1, self._owners, torch.arange(self.num_slots, device=device).expand(batch, -1))
        joined = torch.where(self.goes, slot.gather(1, self.partner), slot.gather(1, self._candidates))
        return slot.scatter(1, self._candidates, joined)

    @property
    def _candidates(self) -> Tensor:
        assert self.merged is not None
        return self.merged

    @property
    def _owners(self) -> Tensor:
        assert isinstance(self.owner, Tensor)
        return self.owner


def merge_above(
    score: Tensor,
    candidates: Tensor,
    partner: Tensor,
    *,
    threshold: float,
    kind: Tensor,
    dead: Tensor | None,
) -> AdaptivePlan:
    """Merge the candidates whose score is at least `threshold` into their partners.

    score, candidates, partner: (b, m). kind: (b, n) int64, by which a clip's remaining tokens are sorted, ties by
    position; a clip that merges nothing keeps its order. dead: (b, n) bool, tokens of size 0. An empty batch merges
    nothing. Waits for the device, because the number of remaining tokens depends on the clips.
    """
    n = kind.shape[1]
    if len(kind) == 0:
        return AdaptivePlan(num_tokens=n, owner=kind, merged=candidates, partner=partner, goes=score >= threshold)
    goes = score >= threshold  # (b, m)
    gone = torch.zeros_like(kind).scatter(1, candidates, goes.long())  # (b, n)
    if dead is not None:
        gone = gone.maximum(dead.long())
    kind = torch.where(goes.any(dim=1, keepdim=True), kind, 0)
    last = kind.amax() + 1
    order = torch.where(gone > 0, last, kind) * n + torch.arange(n, device=kind.device)  # (b, n), no two are equal
    kept = n - int(gone.sum(dim=1).min())
    return AdaptivePlan(
        num_tokens=n, owner=order.argsort(dim=1)[:, :kept], merged=candidates, partner=partner, goes=goes
    )
