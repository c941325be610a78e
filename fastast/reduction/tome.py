"""Token merging by bipartite soft matching (ToMe, arXiv 2210.09461, section 3.1).

Shapes: `b` batch, `n` tokens, `a` tokens of set A (even positions), `c` of set B (odd positions), `d` width.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import register_method
from fastast.schedule import half_of_unprotected


@register_method("tome", limit=half_of_unprotected)
def bipartite_soft_matching(
    metric: Tensor, size: Tensor | None, r: int, *, num_protected: int, order: str = "tome"
) -> MergePlan:
    """Merge the `r` tokens of A that are most similar to a token of B into that token.

    Even positions form A, odd ones B. Every token of A names its most similar token of B by cosine; the `r`
    best pairs merge. Protected tokens are neither merged nor merged into. Exact ties go to the lower position on
    both sides, and a zero metric has similarity 0 to everything. Equal tokens can still have similarities that
    differ in the last bit, as the device's matrix product rounds them.

    metric: (b, n, d). `order` is that of the tokens that stay: "tome" puts the protected ones first, then
    A, then B, as ToMe does, on which the next block's A and B depend; "position" keeps the original order.
    Raises ValueError where `r` exceeds `half_of_unprotected(n, num_protected)` or `order` is unknown.
    """
    b, n, _ = metric.shape
    limit = half_of_unprotected(n, num_protected)
    if not 0 <= r <= limit:
        raise ValueError(f"tome: cannot merge {r} of {n} tokens, {num_protected} protected; at most {limit}")
    if r == 0:
        return MergePlan(num_tokens=n, owner=slice(None))
    best, partner = _match(metric, num_protected)  # (b, a), (b, a)
    ranked = _best_first(best)  # (b, a)
    chosen = ranked[:, :r]  # (b, r) indices into A
    kept_a = 2 * ranked[:, r:].sort(dim=-1).values  # (b, a - r) positions
    all_b = torch.arange(1, n, 2, device=metric.device).expand(b, -1)  # (b, c) positions
    owner = _ordered_owners(kept_a, all_b, num_protected, order)  # (b, p)
    slot_of = owner.new_zeros(b, n).scatter(1, owner, torch.arange(n - r, device=owner.device).expand(b, -1))
    target = slot_of.gather(1, 2 * partner.gather(1, chosen) + 1)  # (b, r)
    return MergePlan(num_tokens=n, owner=owner, merged=2 * chosen, target=target)


def _match(metric: Tensor, num_protected: int) -> tuple[Tensor, Tensor]:
    """Return for every token of A its best similarity and the index in B of its partner, (b, a) each."""
    # float32 (or wider), under autocast too: a cosine in half precision ties tokens that differ.
    device = metric.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        unit = F.normalize(metric if metric.dtype == torch.float64 else metric.float(), dim=-1)
        scores = unit[:, ::2] @ unit[:, 1::2].transpose(-1, -2)  # (b, a, c)
    scores[:, : (num_protected + 1) // 2] = -torch.inf  # protected even positions
    scores[:, :, : num_protected // 2] = -torch.inf  # protected odd positions
    best, partner = scores.max(dim=-1)
    return best, partner


def _best_first(best: Tensor) -> Tensor:
    """Return the indices of the tokens of A by falling similarity, equals by position, (b, a)."""
    if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
        # ONNX knows no stable sort by that name; the TopK that this becomes keeps the order of equals by definition.
        return best.argsort(dim=-1, descending=True)
    return best.argsort(dim=-1, descending=True, stable=True)


def _ordered_owners(kept_a: Tensor, all_b: Tensor, num_protected: int, order: str) -> Tensor:
    """Return the positions of the tokens that stay, (b, p), in the order asked for."""
    owners = torch.cat([kept_a, all_b], dim=1)
    if order == "position":
        return owners.sort(dim=1).values
    if order == "tome":
        in_a, in_b = (num_protected + 1) // 2, num_protected // 2
        protected = torch.arange(num_protected, device=owners.device).expand(owners.shape[0], -1)
        return torch.cat([protected, kept_a[:, in_a:], all_b[:, in_b:]], dim=1)
    raise ValueError(f"tome: unknown order {order!r}; there are: tome, position")
