"""PiToMe: tokens that resemble many others merge, the rest is protected (Tran et al., NeurIPS 2024).

The energy of a token is its mean similarity to the others, f(cos), where f(x) = x from a margin m upwards and
alpha (exp(x - m) - 1) below it; by default, alpha = 1 and m = 0.9 - 0.9 l / L in block l of L. The 2 r tokens of the
highest energy, sorted by it, go alternately into A and B, and every token of A merges into the most similar one of B.
Here blocks count from 0, and protected tokens do not add to the energy of others; the paper specifies neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastast.reduction.choosing.compare import Heads, Metric, by_tokens_alone, compared, compared_width, similarity
from fastast.reduction.choosing.matching import best_first, merge_into
from fastast.reduction.combine import take_rows
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, half_of_free, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class PiToMeOptions:
    """How tokens are compared, and how similar ones count as alike."""

    metric: Metric = "keys"
    """What tokens are compared by, as for tome."""
    heads: Heads = "mean"
    """Whether keys, queries and values are averaged over heads (mean) or concatenated (concat)."""
    margin: float = 0.9
    """Cosine from which two tokens count as alike in the first block, -1 to 1; it shrinks towards 0 in later ones."""
    alpha: float = 1.0
    """How much a pair below the margin takes from the energy of a token, at least 0."""

    def __post_init__(self) -> None:
        if not -1 <= self.margin <= 1:
            raise ValueError(f"margin is {self.margin!r}; a cosine is from -1 to 1")
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha is {self.alpha!r}; give a number of at least 0")


def _macs(shape: BlockShape, r: int, options: PiToMeOptions) -> int:
    """Return the MACs of one product for every unprotected token with every other."""
    width = compared_width(options.metric, options.heads, shape.encoder.embed_dim, shape.encoder.head_dim)
    return shape.num_free**2 * width


@reduction_method(
    "pitome",
    label="PiToMe",
    options=PiToMeOptions,
    limit=half_of_free,
    macs=_macs,
    keeps_order=True,
    at_input=by_tokens_alone,
)
def pitome(tokens: BlockTokens, r: int, options: PiToMeOptions) -> MergePlan:
    """Merge `r` pairs among the 2 `r` tokens that most resemble the others, and leave the rest alone."""
    first = tokens.num_protected
    free = slice(first, None)
    alike = similarity(compared(tokens, options.metric, options.heads), free, free)  # (b, f, f)
    ranked = best_first(energy(alike, options.margin * (1 - tokens.block / tokens.depth), options.alpha))  # (b, f)
    sources, targets = ranked[:, : 2 * r : 2], ranked[:, 1 : 2 * r : 2].sort(dim=1).values  # (b, r) each
    scores = take_rows(alike, sources).gather(2, targets[:, None, :].expand(-1, r, -1))  # (b, r, r)
    partners = targets.gather(1, scores.argmax(dim=-1))  # (b, r)
    return merge_into(sources + first, partners + first, tokens.num_tokens)


def energy(alike: Tensor, margin: float, alpha: float) -> Tensor:
    """Return the energy of every token from all cosines, (b, f, f) -> (b, f)."""
    raised = torch.where(alike >= margin, alike, alpha * ((alike - margin).exp() - 1))
    itself = torch.eye(alike.shape[-1], dtype=torch.bool, device=alike.device)
    return raised.masked_fill(itself, 0.0).mean(-1)


METHOD = pitome
