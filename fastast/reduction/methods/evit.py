"""EViT: Top-K, with the leftover tokens fused into one (Liang et al., ICLR 2022).

The leftover are the r + 1 least attended tokens, so that r fewer leave the block. They are weighted by their attention,
normalised here to add up to one: to a model that was not fine-tuned, an average looks like a token. The fused token
takes the place of the most attended of them, leaves the block last, and is a token like any other in the next block.
"""

from __future__ import annotations

import torch

from fastast.reduction.choosing.matching import best_first
from fastast.reduction.methods.topk import attended, attention_macs
from fastast.reduction.needs import need_prefix_attention
from fastast.reduction.options import NoOptions
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, all_but_one, reduction_method
from fastast.reduction.tokens import BlockTokens


def _limit(shape: BlockShape, options: NoOptions) -> int:
    need_prefix_attention(shape, "evit")
    return all_but_one(shape, options)


@reduction_method("evit", label="EViT", limit=_limit, macs=attention_macs)
def evit(tokens: BlockTokens, r: int, options: NoOptions) -> MergePlan:
    """Fuse the `r` + 1 tokens that the class and distillation tokens attend to least, weighted by that attention."""
    score = attended(tokens)  # (b, n)
    first, kept = tokens.num_protected, tokens.num_tokens - tokens.num_protected - r - 1
    ranked = best_first(score[:, first:]) + first  # (b, n - protected) positions
    protected = torch.arange(first, device=tokens.device).expand(tokens.batch, -1)
    owner = torch.cat([protected, ranked[:, :kept].sort(dim=1).values, ranked[:, kept : kept + 1]], dim=1)  # (b, n - r)
    return MergePlan(
        num_tokens=tokens.num_tokens,
        owner=owner,
        merged=ranked[:, kept + 1 :],
        target=torch.full_like(ranked[:, kept + 1 :], owner.shape[1] - 1),
        weight=score.clamp_min(torch.finfo(torch.float32).tiny),  # where none is attended to, all count alike
    )


METHOD = evit
