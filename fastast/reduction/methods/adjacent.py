"""A-ToMe: neighbours in time merge (Li et al. 2023, arXiv 2306.16009, with a fixed number of merges).

Speech has one sequence of tokens; a spectrogram has one per frequency band, and tokens of different bands are never
neighbours. A merged token is where its owner was, and its neighbour is the next remaining token. The similarity of each
pair of neighbours is one product of two vectors, so that no matrix is needed; the `r` most similar pairs are joined, so
that a run of similar tokens becomes one. Order in time is kept, and at least one token of every band stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from fastast.reduction.choosing.compare import Heads, Metric, by_tokens_alone, compared
from fastast.reduction.choosing.matching import best_first
from fastast.reduction.choosing.precision import widened
from fastast.reduction.needs import need_protected_prefix
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class AdjacentOptions:
    """How neighbours are compared."""

    metric: Metric = "keys"
    """What tokens are compared by, as for tome."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads (mean) or concatenated (concat)."""


def _limit(shape: BlockShape, options: AdjacentOptions) -> int:
    need_protected_prefix(shape, "adjacent")
    return max(0, shape.num_free - shape.encoder.grid[0])


@reduction_method(
    "adjacent",
    label="A-ToMe",
    options=AdjacentOptions,
    limit=_limit,
    keeps_order=True,
    at_input=by_tokens_alone,
)
def adjacent(tokens: BlockTokens, r: int, options: AdjacentOptions) -> MergePlan:
    """Merge the `r` most similar pairs of neighbours in time, each within its frequency band."""
    first, n = tokens.num_protected, tokens.num_tokens
    # Tokens are in the order of bands, and within a band of time, which this method never changes.
    row = F.normalize(widened(compared(tokens, options.metric, options.heads)[:, first:]), dim=-1)  # (b, f, w)
    alike = (row[:, :-1] * row[:, 1:]).sum(-1)  # (b, f - 1)
    band = tokens.places[:, first:, 0]
    alike = alike.masked_fill(band[:, :-1] != band[:, 1:], -torch.inf)
    closed = torch.zeros(tokens.batch, n, dtype=torch.int64, device=tokens.device)
    joins = best_first(alike)[:, :r] + first + 1  # (b, r) positions that join the one before them
    closed = closed.scatter(1, joins, 1)
    slot = torch.arange(n, device=tokens.device) - closed.cumsum(1)  # (b, n)
    return MergePlan.from_slots(slot, n - r, drops=False)


METHOD = adjacent
