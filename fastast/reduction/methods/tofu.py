"""ToFu: tokens are pruned in early blocks and merged in later ones (Kim et al., WACV 2024).

Both choose by ToMe's matching: early on, the A token of each of the `r` most similar pairs is dropped and the B token
is left as it is; later, both merge by MLERP, their average scaled to the norm of the longest. Early blocks do not map
the average of two tokens to the average of their outputs; the paper measures from which block on they do, and the
default here is half the depth. A dropped token does not add to the size of its partner.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastast.reduction.choosing.compare import Heads, Metric, by_tokens_alone
from fastast.reduction.choosing.matching import Order
from fastast.reduction.methods.tome import ToMeOptions, pairing_macs, tome
from fastast.reduction.needs import check_share, first_block_of
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class ToFuOptions:
    """How many blocks prune, and how tokens are compared."""

    merge_from: float = 0.5
    """Share of the blocks, from the first, that drop tokens; later ones merge them."""
    metric: Metric = "keys"
    """What tokens are compared by, as for tome."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads (mean) or concatenated (concat)."""
    order: Order = "tome"
    """Order of the remaining tokens: tome (protected, A, B) or position."""

    def __post_init__(self) -> None:
        check_share("tofu", "merge_from", self.merge_from)


def _macs(shape: BlockShape, r: int, options: ToFuOptions) -> int:
    return pairing_macs(shape, options.metric, options.heads)


@reduction_method(
    "tofu",
    label="ToFu",
    options=ToFuOptions,
    limit=half_of_free,
    macs=_macs,
    combine="norm",
    at_input=by_tokens_alone,
)
def tofu(tokens: BlockTokens, r: int, options: ToFuOptions) -> MergePlan:
    """Drop one token of each of the `r` most similar pairs in early blocks, and merge the pairs in later ones."""
    pairs = tome(tokens, r, ToMeOptions(metric=options.metric, heads=options.heads, order=options.order))
    if tokens.block < first_block_of(options.merge_from, tokens.depth):
        return MergePlan(num_tokens=pairs.num_tokens, owner=pairs.owner)
    return pairs


METHOD = tofu
