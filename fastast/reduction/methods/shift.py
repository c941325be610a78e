"""Representation shift: drop the tokens that a layer moves least (Choi et al. 2025, arXiv 2508.00367).

The shift is the Euclidean distance between a token before and after a layer. The paper measures it over attention, the
MLP or a whole block; here tokens go between attention and MLP, so it is the norm of what attention added.
"""

from __future__ import annotations

from fastast.reduction.choosing.dropping import drop_lowest
from fastast.reduction.choosing.precision import widened
from fastast.reduction.options import NoOptions
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import all_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@reduction_method("shift", label="representation shift", limit=all_free, keeps_order=True)
def shift(tokens: BlockTokens, r: int, options: NoOptions) -> MergePlan:
    """Drop the `r` tokens to which attention added the shortest vectors."""
    return drop_lowest(widened(tokens.branch).norm(dim=-1), r, num_protected=tokens.num_protected)


METHOD = shift
