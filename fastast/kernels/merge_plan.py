"""The plan of a merge: the top r pairs and every token's new place, as lists that a GPU can read slot by slot.

Shapes: `b` batch, `n` tokens in, `a` tokens of set A (even positions), `c` of set B (odd ones), `r` merged, `p` = n - r
slots (tokens out).

The rank of a pair is the number of pairs before it, counted by comparing it with all others: without a sort, several
programs can share a clip. Positions in the lists are counted in the same way, from the ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastast.kernels.flat_plan import FlatPlan
from fastast.kernels.launch import Tiling, cdiv, check_launch, on_device


def merge_plan_reference(best: Tensor, partner: Tensor, n: int, r: int, num_protected: int) -> FlatPlan:
    """Return the plan that merges the `r` tokens of A with the highest similarity into their partners, in plain torch.

    best: (b, a) float32, partner: (b, a) int32, as `best_partner` returns them. Ties go to the lower position. With
    r = 0, tokens keep their order. Raises ValueError where shapes do not match `n`, or `r` exceeds half of the
    unprotected tokens.
    """
    _check(best, partner, n, r, num_protected)
    if r == 0:
        return _nothing_merges(best, n)
    b, device = best.shape[0], best.device
    in_a, in_b = (num_protected + 1) // 2, num_protected // 2
    ranked = best[:, in_a:].argsort(dim=-1, descending=True, stable=True) + in_a  # (b, a - in_a)
    kept_a = 2 * ranked[:, r:].sort(dim=-1).values  # (b, a - in_a - r) positions
    all_b = torch.arange(2 * in_b + 1, n, 2, device=device).expand(b, -1)
    protected = torch.arange(num_protected, device=device).expand(b, -1)
    owner = torch.cat([protected, kept_a, all_b], dim=1)  # (b, p)
    merged = ranked[:, :r].sort(dim=-1).values  # (b, r) indices into A, by position
    into = partner.long().gather(1, merged)  # (b, r) indices into B
    into, order = into.sort(dim=-1, stable=True)
    joining = torch.zeros(b, n // 2, dtype=torch.int64, device=device).scatter_add_(1, into, torch.ones_like(into))
    before = torch.zeros(b, n - r - all_b.shape[1] + 1, dtype=torch.int64, device=device)
    start = torch.cat([before, joining[:, in_b:].cumsum(-1)], dim=1)  # (b, p + 1)
    source = 2 * merged.gather(1, order)
    return FlatPlan(owner=owner.to(torch.int32), start=start.to(torch.int32), source=source.to(torch.int32))


def merge_plan(best: Tensor, partner: Tensor, n: int, r: int, num_protected: int) -> FlatPlan:
    """Return the plan that merges the `r` tokens of A with the highest similarity, from two Triton kernels.

    Shapes, errors and result are those of `merge_plan_reference`, number for number. Also raises ValueError where the
    device cannot run Triton.
    """
    _check(best, partner, n, r, num_protected)
    check_launch("merge_plan", best=best)
    if r == 0:
        return _nothing_merges(best, n)
    from fastast.kernels._triton.merge_plan import rank_pairs, write_plan

    best, partner = best.detach().contiguous(), partner.contiguous()
    b, a = best.shape
    in_a, in_b = (num_protected + 1) // 2, num_protected // 2
    rank = torch.empty_like(partner)
    owner = torch.empty(b, n - r, dtype=torch.int32, device=best.device)
    start = torch.empty(b, n - r + 1, dtype=torch.int32, device=best.device)
    source = torch.empty(b, r, dtype=torch.int32, device=best.device)
    tiling = PLAN_TILING
    options = {
        "BM": tiling.block_m, "BN": tiling.block_n, "num_warps": tiling.num_warps, "num_stages": tiling.num_stages
    }  # fmt: skip
    with on_device(best):
        rank_pairs[(cdiv(a, tiling.block_m) * b,)](best, rank, a, in_a, **options)
        # One more than the tokens of B, as the last entry of `start` is where the last range ends.
        tiles = cdiv(n // 2 + 1, tiling.block_m)
        write_plan[(tiles * b,)](rank, partner, owner, start, source, n, r, in_a, in_b, **options)
    return FlatPlan(owner=owner, start=start, source=source)


PLAN_TILING = Tiling(block_m=16, block_n=128, num_warps=4, num_stages=1)
"""A program compares its `block_m` pairs with `block_n` at a time: 38 programs for one clip of 1,214 tokens."""


def _nothing_merges(best: Tensor, n: int) -> FlatPlan:
    b, device = best.shape[0], best.device
    return FlatPlan(
        owner=torch.arange(n, dtype=torch.int32, device=device).expand(b, -1).contiguous(),
        start=torch.zeros(b, n + 1, dtype=torch.int32, device=device),
        source=torch.zeros(b, 0, dtype=torch.int32, device=device),
    )


def _check(best: Tensor, partner: Tensor, n: int, r: int, num_protected: int) -> None:
    a = (n + 1) // 2
    if n < 1 or best.ndim != 2 or best.shape[0] < 1 or best.shape[1] != a or partner.shape != best.shape:
        raise ValueError(
            f"merge_plan: best has shape {tuple(best.shape)} and partner {tuple(partner.shape)}; for n = {n} tokens, "
            f"both must be (batch, {a})"
        )
    if best.dtype != torch.float32 or partner.dtype != torch.int32 or partner.device != best.device:
        raise ValueError(
            f"merge_plan: best is {best.dtype} on {best.device} and partner {partner.dtype} on {partner.device}; they "
            "must be float32 and int32 on one device, as best_partner returns them"
        )
    if num_protected < 0:
        raise ValueError(f"merge_plan: num_protected = {num_protected}; it must be 0 or more")
    limit = max(0, (n - num_protected) // 2)
    if not 0 <= r <= limit:
        raise ValueError(f"merge_plan: cannot merge {r} of {n} tokens, {num_protected} protected; at most {limit}")
