"""Bipartite soft matching (ToMe, arXiv 2210.09461, section 3.1): pair similar tokens by scores between two sets.

Shapes: `b` batch, `n` tokens, `a` unprotected tokens of set A (even positions), `c` of set B (odd positions),
`p` remaining tokens, `d` width.

On a CPU, a block takes so little time for one clip that every small operation counts, so there are few of them.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from fastast.reduction.choosing.adaptive import merge_above
from fastast.reduction.choosing.compare import Distance, similarity
from fastast.reduction.combine import take_rows
from fastast.reduction.plan import MergePlan

Order = Literal["tome", "position"]
"""Order of the remaining tokens: ToMe's (protected, A, B), which decides the next block's A and B, or by position."""


def bipartite_soft_matching(
    metric: Tensor,
    r: int,
    *,
    num_protected: int,
    order: Order = "tome",
    distance: Distance = "cosine",
    threshold: float | None = None,
    dead: Tensor | None = None,
) -> MergePlan:
    """Merge the `r` tokens of A that are most similar to a token of B into that token.

    Even positions form A, odd ones B. Every token of A names its most similar token of B; the `r` best pairs merge.
    Protected tokens are neither merged nor merged into. Exact ties go to the lower position on both sides, and a zero
    metric has cosine 0 with everything. The similarities of equal tokens can still differ in the last bit, depending on
    how the device's matrix product rounds.

    With a `threshold`, only those of the `r` pairs merge whose similarity is at least that, so that every clip merges
    its own number; `dead` tokens, (b, n) bool, are then in no pair.

    metric: (b, n, d). Raises ValueError where `r` exceeds half of the unprotected tokens or `order` is unknown.
    """
    b, n, _ = metric.shape
    limit = max(0, (n - num_protected) // 2)
    if order not in get_args(Order):
        raise ValueError(f"tome: unknown order {order!r}; there are: {', '.join(get_args(Order))}")
    if not 0 <= r <= limit:
        raise ValueError(f"tome: cannot merge {r} of {n} tokens, {num_protected} protected; at most {limit}")
    if r == 0:
        return MergePlan(num_tokens=n, owner=slice(None))
    first_a, first_b = first_positions(num_protected)
    scores = similarity(metric, slice(first_a, None, 2), slice(first_b, None, 2), distance)  # (b, a, c)
    positions = torch.arange(n, device=metric.device).expand(b, -1)
    sources, targets = positions[:, first_a::2], positions[:, first_b::2]
    return merge_best(
        *(scores, r, sources, targets),
        num_tokens=n,
        num_protected=num_protected,
        order=order,
        threshold=threshold,
        dead=dead,
    )


def first_positions(num_protected: int) -> tuple[int, int]:
    """Return the first unprotected positions of A (even) and of B (odd)."""
    return num_protected + num_protected % 2, num_protected + 1 - num_protected % 2


def merge_best(
    scores: Tensor,
    r: int,
    sources: Tensor,
    targets: Tensor,
    *,
    num_tokens: int,
    num_protected: int,
    order: Order,
    threshold: float | None = None,
    dead: Tensor | None = None,
) -> MergePlan:
    """Merge the `r` sources with the highest score for any target into the target of that score.

    scores: (b, a, c). sources, targets: (b, a) and (b, c), ascending positions that together cover every unprotected
    token. `threshold` and `dead` as for `bipartite_soft_matching`.
    """
    b = scores.shape[0]
    if dead is not None:
        pairs = dead.gather(1, sources)[:, :, None] | dead.gather(1, targets)[:, None, :]  # (b, a, c)
        scores = scores.masked_fill(pairs, -torch.inf)
    best = scores.amax(dim=-1)  # (b, a)
    ranked = best_first(best)  # (b, a) indices into the sources
    # Partners of the merged only: finding where a maximum is takes many times as long as finding how large it is.
    target = take_rows(scores, ranked[:, :r]).argmax(dim=-1)  # (b, r) indices into the targets, slots once in order
    if threshold is not None:
        kind = torch.ones(b, num_tokens, dtype=torch.int64, device=scores.device).scatter(1, targets, 2)
        kind[:, :num_protected] = 0
        return merge_above(
            best.gather(1, ranked[:, :r]),
            sources.gather(1, ranked[:, :r]),
            targets.gather(1, target),
            threshold=threshold,
            kind=kind if order == "tome" else torch.zeros_like(kind),
            dead=dead,
        )
    ranked = sources.gather(1, ranked)  # (b, a) positions
    kept = ranked[:, r:].sort(dim=-1).values  # (b, a - r)
    positions = torch.arange(num_tokens, device=scores.device)
    protected = positions[:num_protected].expand(b, -1)
    owner = torch.cat([protected, kept, targets], dim=1)  # (b, p) positions
    target = target + (num_protected + kept.shape[1])  # (b, r)
    if order == "position":
        owner, moved = owner.sort(dim=1)
        slots = torch.empty_like(moved).scatter_(1, moved, positions[: num_tokens - r].expand(b, -1))  # (b, p)
        target = slots.gather(1, target)
    return MergePlan(num_tokens=num_tokens, owner=owner, merged=ranked[:, :r], target=target)


def merge_into(merged: Tensor, partner: Tensor, num_tokens: int) -> MergePlan:
    """Merge tokens into partners that stay, (b, m) positions each; the remaining tokens keep their order."""
    b, m = merged.shape
    goes = torch.zeros(b, num_tokens, dtype=torch.int64, device=merged.device).scatter(1, merged, 1)  # (b, n)
    positions = torch.arange(num_tokens, device=merged.device)
    owner = (goes * num_tokens + positions).argsort(dim=1)[:, : num_tokens - m]  # (b, p); no two keys are equal
    slots = positions - goes.cumsum(1)  # (b, n), of those that stay
    return MergePlan(num_tokens=num_tokens, owner=owner, merged=merged, target=slots.gather(1, partner))


def best_first(best: Tensor) -> Tensor:
    """Return the indices of scores (b, a) in descending order of score, ties by position, (b, a)."""
    if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
        # ONNX export has no stable sort; the TopK that this becomes keeps ties in order by definition.
        return best.argsort(dim=-1, descending=True)
    return best.argsort(dim=-1, descending=True, stable=True)
