"""How the tokens of a slot become one, and the indexing that it needs.

Shapes: `b` batch, `n` tokens in, `p` slots, `m` tokens that own no slot, `d` width.

Averages are written as sums: exporters translate a scatter with "mean" wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fastast.reduction.plan import MergePlan

Combine = Literal["size", "mean", "norm", "keep"]
"""`size`: mean weighted by size (ToMe, section 3.1). `mean`: every token alike. `norm`: the size-weighted mean, made as
long as the longest token in it (ToFu's MLERP). `keep`: the owner alone, whose size grows all the same. Where a plan has
weights of its own, they are those of the mean."""


def combine_rows(plan: MergePlan, x: Tensor, size: Tensor | None, new_size: Tensor | None, combine: Combine) -> Tensor:
    """Return one row per slot of a plan that merges, (b, n, d) -> (b, p, d); sizes as for `MergePlan.merge`."""
    merged, target = plan.merged, plan.joined
    assert merged is not None
    weight, total = share_weights(plan, size, new_size, combine)
    wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    owners, joining = plan.take_owners(x).to(wide), take_rows(x, merged).to(wide)  # (b, p, d), (b, m, d)
    if isinstance(plan.owner, slice):
        owners = owners.clone()  # a view of x so far
    lengths = _lengths(plan, owners, joining) if combine == "norm" else None
    # The average as the owner plus what each joining token moves it by: a slot that none joins is left alone.
    share = total.gather(1, target).to(wide).reciprocal_()  # (b, m)
    if weight is not None:
        share = share.mul_(weight.gather(1, merged))
    if plan.drops:
        assert plan.target is not None
        share = share.masked_fill(plan.target < 0, 0.0)
    joining = joining.sub_(take_rows(owners, target)).mul_(share.unsqueeze(-1))
    out = owners.scatter_add_(1, index_like(target, joining), joining)  # (b, p, d)
    if lengths is not None:
        longest, joined = lengths
        scale = longest / out.norm(dim=-1).clamp_min(torch.finfo(wide).tiny)  # (b, p)
        out = out * torch.where(joined, scale, torch.ones_like(scale)).unsqueeze(-1)
    return out.to(x.dtype)


def share_weights(
    plan: MergePlan, size: Tensor | None, new_size: Tensor | None, combine: Combine
) -> tuple[Tensor | None, Tensor]:
    """Return the weight of every token in its slot's average, (b, n) or None (all ones), and their sums, (b, p)."""
    if plan.weight is not None:
        return plan.weight, plan.sum(plan.weight).clamp_min(torch.finfo(torch.float32).tiny)
    if combine == "mean" and size is not None:
        return None, plan.sum(torch.ones_like(size))
    assert new_size is not None
    return size, new_size


def _lengths(plan: MergePlan, owners: Tensor, joining: Tensor) -> tuple[Tensor, Tensor]:
    """Return the length of the longest token of every slot, and whether any token joins it, (b, p) each."""
    assert plan.target is not None
    stays = plan.target >= 0
    lengths = joining.norm(dim=-1).masked_fill(~stays, 0.0)  # (b, m)
    longest = owners.norm(dim=-1).scatter_reduce(1, plan.joined, lengths, "amax")  # (b, p)
    joined = torch.zeros_like(longest).scatter_add(1, plan.joined, stays.to(longest.dtype)) > 0
    return longest, joined


def index_like(index: Tensor, x: Tensor) -> Tensor:
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
