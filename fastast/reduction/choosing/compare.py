"""The metric that tokens are compared by, and their similarity.

Shapes: `b` batch, `n` tokens, `h` heads, `e` width of a head, `d` = h e, `w` width of what is compared.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from fastast.reduction.choosing.precision import widened, without_autocast
from fastast.reduction.tokens import BlockTokens

Metric = Literal["keys", "queries", "values", "tokens", "before", "branch"]
"""Keys, queries or values of the block's attention; the tokens after it, before it, or what it added to them."""
Heads = Literal["mean", "concat"]
"""Whether keys, queries and values are averaged over heads (ToMe) or concatenated."""
Distance = Literal["cosine", "dot", "euclidean"]
"""Cosine similarity (ToMe), dot product, or negative squared Euclidean distance."""


def compared(tokens: BlockTokens, metric: Metric, heads: Heads = "mean") -> Tensor:
    """Return the vectors that tokens are compared by, (b, n, w)."""
    if metric == "tokens":
        return tokens.after
    if metric in ("before", "branch"):
        found: Tensor = getattr(tokens, metric)
        return found
    by_head: Tensor = getattr(tokens, metric)  # (b, h, n, e)
    return by_head.mean(1) if heads == "mean" else by_head.transpose(1, 2).flatten(2)


def by_tokens_alone(options: Any) -> bool:
    """Return whether options compare the tokens themselves, which exist before any attention."""
    return options.metric in ("tokens", "before")


def compared_width(metric: Metric, heads: Heads, embed_dim: int, head_dim: int) -> int:
    """Return the width `w` of the vectors that tokens are compared by."""
    return head_dim if metric in ("keys", "queries", "values") and heads == "mean" else embed_dim


def similarity(metric: Tensor, left: slice, right: slice, distance: Distance = "cosine") -> Tensor:
    """Return how similar the tokens `left` are to the tokens `right`: (b, n, w) -> (b, l, m).

    In float32 or wider, even under autocast: half precision ties tokens that differ. A row of zeros has cosine 0 with
    every other.
    """
    with without_autocast(metric):
        wide = widened(metric)
        if distance == "cosine":
            wide = F.normalize(wide, dim=-1)
        products = wide[:, left] @ wide[:, right].transpose(-1, -2)  # (b, l, m)
        if distance != "euclidean":
            return products
        squares = (wide * wide).sum(-1)  # (b, n)
        return 2 * products - squares[:, left, None] - squares[:, None, right]
