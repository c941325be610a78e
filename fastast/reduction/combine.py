"""Combine the tokens of a slot into one, and the indexing that this needs.

Shapes: `b` batch, `n` tokens in, `p` slots, `m` tokens that own no slot, `d` width.

Averages are written as sums, because exporters translate a scatter with "mean" wrongly.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Combine = Literal["size", "mean", "norm", "keep"]
"""`size`: mean weighted by size (ToMe, section 3.1). `mean`: plain mean. `norm`: size-weighted mean, scaled to the norm
of the longest token in it (ToFu's MLERP). `keep`: the owner alone, whose size still grows. The weights of a plan, where
it has them, replace those of the mean."""


def blend(
    owners: Tensor, joining: Tensor, slot: Tensor, share: Tensor, stays: Tensor | None, *, as_long: bool
) -> Tensor:
    """Average tokens into the slots that they join.

    owners: (b, p, d) and joining: (b, m, d), both overwritten. slot: (b, m), the slot that each joins. share: (b, m),
    its share of that slot's average. stays: (b, m) bool, False for tokens that join nothing; None where all join one.
    `as_long` scales every average to the norm of the longest token in it. Returns (b, p, d).
    """
    lengths = _lengths(owners, joining, slot, stays) if as_long else None
    if stays is not None:
        share = share.masked_fill(~stays, 0.0)
    # The average is the owner plus what each joining token moves it by, so that a slot that none joins is unchanged.
    if as_long and owners.requires_grad:  # gradients of lengths need the tokens as they are
        owners, joining = owners.clone(), joining.clone()
    joining = joining.sub_(take_rows(owners, slot)).mul_(share.unsqueeze(-1))
    out = owners.scatter_add_(1, index_like(slot, joining), joining)  # (b, p, d)
    if lengths is None:
        return out
    longest, joined = lengths
    scale = longest / out.norm(dim=-1).clamp_min(torch.finfo(out.dtype).tiny)  # (b, p)
    return out * torch.where(joined, scale, torch.ones_like(scale)).unsqueeze(-1)


def _lengths(owners: Tensor, joining: Tensor, slot: Tensor, stays: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the norm of the longest token of every slot, and whether any token joins it, (b, p) each."""
    lengths = joining.norm(dim=-1)  # (b, m)
    present = torch.ones_like(lengths) if stays is None else stays.to(lengths.dtype)
    longest = owners.norm(dim=-1).scatter_reduce(1, slot, lengths * present, "amax")  # (b, p)
    return longest, torch.zeros_like(longest).scatter_add(1, slot, present) > 0


def index_like(index: Tensor, x: Tensor) -> Tensor:
    """Broadcast an index (b, k) over the trailing axes of `x`."""
    return index.reshape(*index.shape, *[1] * (x.ndim - 2)).expand(*index.shape, *x.shape[2:])


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index` (b, k) of `x` (b, n, ...) as (b, k, ...)."""
    if x.ndim == 2:
        return x.gather(1, index)
    # Copies whole rows of one flat list; a gather would look up the row again for every number.
    b, n = x.shape[:2]
    in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if b == 1 and not in_graph:  # a graph takes any batch; the list of one clip starts at 0
        return x[0].index_select(0, index[0]).unsqueeze(0)
    first = torch.arange(b, device=index.device).unsqueeze(-1) * n  # (b, 1)
    return x.flatten(0, 1).index_select(0, (index + first).flatten()).unflatten(0, index.shape)
