"""Top-K: keep the tokens that the class and distillation tokens attend to most.

Haurum et al. 2023, "Which Tokens to Use?" (arXiv 2308.04657), whose Top-K is EViT without its fused token;
on audio, arXiv 2504.01690. Attention is averaged over heads and, where a model has several, over its prefix tokens,
of which the papers have one.
"""

from __future__ import annotations

from torch import Tensor

from fastast.reduction.choosing.dropping import drop_lowest
from fastast.reduction.needs import need_prefix_attention
from fastast.reduction.options import NoOptions
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, reduction_method
from fastast.reduction.tokens import BlockTokens


def attended(tokens: BlockTokens) -> Tensor:
    """Return how much the prefix tokens attend to every token, the mean over them and over heads, (b, n)."""
    return tokens.prefix_attention.mean(dim=(1, 2))


def attention_macs(shape: BlockShape, r: int, options: object) -> int:
    """Return the MACs of one product of the prefix tokens' queries with every key, head by head."""
    return shape.encoder.num_prefix_tokens * shape.num_tokens * shape.encoder.embed_dim


def _limit(shape: BlockShape, options: NoOptions) -> int:
    need_prefix_attention(shape, "topk")
    return shape.num_free


@reduction_method("topk", label="Top-K", limit=_limit, macs=attention_macs, keeps_order=True)
def topk(tokens: BlockTokens, r: int, options: NoOptions) -> MergePlan:
    """Drop the `r` tokens that the class and distillation tokens attend to least."""
    return drop_lowest(attended(tokens), r, num_protected=tokens.num_protected)


METHOD = topk
