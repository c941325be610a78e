"""The slice oracle: removes as many tokens at no cost, a bound on the speed that any method can gain."""

from __future__ import annotations

from fastast.reduction.options import NoOptions
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import all_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@reduction_method("slice", label="slice oracle", limit=all_free, keeps_order=True, oracle=True, at_input=True)
def keep_first(tokens: BlockTokens, r: int, options: NoOptions) -> MergePlan:
    """Drop the last `r` tokens without looking at them."""
    return MergePlan(num_tokens=tokens.num_tokens, owner=slice(0, tokens.num_tokens - r))


METHOD = keep_first
