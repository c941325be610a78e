"""DTEM: ToMe's matching by an embedding that is learned for it (Lee and Hong, NeurIPS 2024, arXiv 2412.10569).

A module per block, decoupled from the forward pass of the model, embeds tokens to compare them. It is trained through a
continuous relaxation of the matching (`fastast.dtem`) with the rest of the model frozen; once trained, matching is
discrete. Here it is a norm and a linear layer on the tokens that enter the block, and starts as what ToMe compares: the
keys of that block, averaged over heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastast.reduction.choosing.matching import Order, bipartite_soft_matching
from fastast.reduction.embedding import check_fits, identified, merge_embedding, placed
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class DTEMOptions:
    """The embedding, and the order of the remaining tokens."""

    weights: str = "ast_tiny_soundscapes"
    """Merge embedding: the name of a model that comes with one, or a file of `fastast learn-merging`."""
    order: Order = "tome"
    """Order of the remaining tokens, as for tome."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", identified(self.weights))


def _limit(shape: BlockShape, options: DTEMOptions) -> int:
    check_fits(options.weights, shape, "dtem")
    return half_of_free(shape, options)


def _macs(shape: BlockShape, r: int, options: DTEMOptions) -> int:
    """Return the MACs of embedding every token, and of one product for every unprotected token of A with each of B."""
    width = merge_embedding(options.weights).width
    pairs = (shape.num_free + 1) // 2 * (shape.num_free // 2)
    return (shape.num_tokens * shape.encoder.embed_dim + pairs) * width


@reduction_method("dtem", label="DTEM", options=DTEMOptions, limit=_limit, macs=_macs, at_input=True, thresholds=True)
def dtem(tokens: BlockTokens, r: int, options: DTEMOptions) -> MergePlan:
    """Merge the `r` pairs with the most similar learned embeddings, each of an even and an odd position."""
    entering = tokens.entering
    return bipartite_soft_matching(
        *(placed(options.weights, entering).of(entering, tokens.block), r),
        num_protected=tokens.num_protected,
        order=options.order,
        threshold=tokens.threshold,
        dead=tokens.dead,
    )


METHOD = dtem
