"""ToMe: token merging by bipartite soft matching (Bolya et al. 2023, arXiv 2210.09461, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastast.reduction.compare import Distance, Heads, Metric, compared, compared_width
from fastast.reduction.matching import Order, bipartite_soft_matching
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class ToMeOptions:
    """The axes of ToMe's own ablations."""

    metric: Metric = field(default="keys", metadata={"always": True})
    """What tokens are compared by: keys, queries, values, tokens (behind the attention), before it, or branch (what
    attention adds)."""
    order: Order = field(default="tome", metadata={"always": True})
    """Order of the tokens that stay: ToMe's (protected, A, B) or that of their position."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads or set side by side (concat)."""
    distance: Distance = "cosine"
    """How similar two tokens are: cosine, dot, or euclidean (the closer the more)."""


def _macs(shape: BlockShape, r: int, options: ToMeOptions) -> int:
    """One product of what is compared for every unprotected token of A with every one of B."""
    even = (shape.num_tokens + 1) // 2 - (shape.num_protected + 1) // 2
    odd = shape.num_tokens // 2 - shape.num_protected // 2
    width = compared_width(options.metric, options.heads, shape.encoder.embed_dim, shape.encoder.head_dim)
    return even * odd * width


@reduction_method("tome", label="ToMe", options=ToMeOptions, limit=half_of_free, macs=_macs)
def tome(tokens: BlockTokens, r: int, options: ToMeOptions) -> MergePlan:
    """Merge the `r` pairs of tokens with the most similar keys, one of each pair from every second token."""
    return bipartite_soft_matching(
        compared(tokens, options.metric, options.heads),
        r,
        num_protected=tokens.num_protected,
        order=options.order,
        distance=options.distance,
    )


METHOD = tome
