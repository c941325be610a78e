"""ToMe: token merging by bipartite soft matching (Bolya et al. 2023, arXiv 2210.09461, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fastast.reduction.choosing.compare import (
    Distance,
    Heads,
    Metric,
    by_tokens_alone,
    compared,
    compared_width,
    similarity,
)
from fastast.reduction.choosing.matching import Order, bipartite_soft_matching, merge_best
from fastast.reduction.choosing.partition import Partition, part
from fastast.reduction.combine import take_rows
from fastast.reduction.needs import need_protected_prefix
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class ToMeOptions:
    """The axes of ToMe's own ablations."""

    metric: Metric = field(default="keys", metadata={"always": True})
    """What tokens are compared by: keys, queries, values, tokens (after attention), before (the tokens before it), or
    branch (what attention adds)."""
    order: Order = field(default="tome", metadata={"always": True})
    """Order of the remaining tokens: tome (protected, A, B) or position."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads (mean) or concatenated (concat)."""
    distance: Distance = "cosine"
    """How similarity is measured: cosine, dot, or euclidean (closer is more similar)."""
    partition: Partition = "alternating"
    """Which tokens may merge into which: alternating positions (ToMe), sequential halves, random halves (drawn from the
    seed), or every second token along time or frequency of the patch grid."""


def _limit(shape: BlockShape, options: ToMeOptions) -> int:
    if options.partition in ("time", "frequency"):
        need_protected_prefix(shape, "tome")
    return half_of_free(shape, options)


def pairing_macs(shape: BlockShape, metric: Metric, heads: Heads) -> int:
    """Return the MACs of one product for every unprotected token of A with each of B."""
    width = compared_width(metric, heads, shape.encoder.embed_dim, shape.encoder.head_dim)
    return (shape.num_free + 1) // 2 * (shape.num_free // 2) * width


def _macs(shape: BlockShape, r: int, options: ToMeOptions) -> int:
    return pairing_macs(shape, options.metric, options.heads)


def _draws(options: ToMeOptions) -> bool:
    return options.partition == "random"


def _thresholds(options: ToMeOptions) -> bool:
    """Return whether a threshold can decide: other partitions depend on how many tokens a clip is padded to."""
    return options.distance == "cosine" and options.partition == "alternating"


@reduction_method(
    "tome",
    label="ToMe",
    options=ToMeOptions,
    limit=_limit,
    macs=_macs,
    random=_draws,
    at_input=by_tokens_alone,
    thresholds=_thresholds,
)
def tome(tokens: BlockTokens, r: int, options: ToMeOptions) -> MergePlan:
    """Merge the `r` pairs of tokens with the most similar keys, each of an even and an odd position."""
    metric = compared(tokens, options.metric, options.heads)  # (b, n, w)
    first = tokens.num_protected
    if options.partition == "alternating":
        return bipartite_soft_matching(
            *(metric, r),
            num_protected=first,
            order=options.order,
            distance=options.distance,
            threshold=tokens.threshold,
            dead=tokens.dead,
        )
    sources, targets = part(tokens, options.partition)  # (b, a), (b, c)
    a = sources.shape[1]
    both = take_rows(metric.contiguous(), torch.cat([sources, targets], dim=1))  # (b, a + c, w)
    scores = similarity(both, slice(0, a), slice(a, None), options.distance)  # (b, a, c)
    return merge_best(
        scores, r, sources, targets, num_tokens=tokens.num_tokens, num_protected=first, order=options.order
    )


METHOD = tome
