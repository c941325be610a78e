"""Random drop: the control that any choice of tokens must be compared with."""

from __future__ import annotations

from fastast.reduction.choosing.dropping import drop_lowest
from fastast.reduction.options import NoOptions
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import all_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@reduction_method("random", label="random drop", limit=all_free, keeps_order=True, random=True, at_input=True)
def random_drop(tokens: BlockTokens, r: int, options: NoOptions) -> MergePlan:
    """Drop `r` tokens drawn from seed and block alone, the same in every clip."""
    return drop_lowest(tokens.draw().expand(tokens.batch, -1), r, num_protected=tokens.num_protected)


METHOD = random_drop
