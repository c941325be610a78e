"""The last block for only the tokens that the head reads: the same logits for a fraction of the work.

Shapes: `b` batch, `n` tokens, `k` tokens that the head reads (class and distillation token), `h` heads, `e` width of a
head, `d` = h e.

Nothing reads the last block's other tokens, so its MLP and its projections are needed for `k` tokens only. Their
attention needs no keys and values either: for one head with key and value weights W_K, W_V and normed tokens X,

    q·(W_K x + b_K) = (W_Kᵀ q)·x + q·b_K    where q·b_K is the same for all keys and does not change the softmax,
    sum_j p_j (W_V x_j + b_V) = W_V (sum_j p_j x_j) + b_V    as the weights p sum to 1,

so X is multiplied twice by k h vectors instead of by two (d, d) matrices. The result equals the block's own up to
rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from fastast.engine.weights import EngineWeights
    from fastast.hosts.layers import BlockLayers


def attend(normed: Tensor, size: Tensor | None, weights: EngineWeights, block: BlockLayers, k: int) -> Tensor:
    """Attend with the first `k` tokens to all, without computing keys and values: (b, n, d) -> (b, k, d)."""
    b, _, d = normed.shape
    h, e, _ = weights.last_keys.shape
    query_bias, value_bias = (None, None) if block.qkv.bias is None else (block.qkv.bias[:d], block.qkv.bias[2 * d :])
    # Half precision would round the scores; tensors for k tokens are small, so everything is in float32 or wider.
    tokens = normed.to(weights.last_keys.dtype)
    q = F.linear(normed[:, :k], block.qkv.weight[:d], query_bias).to(tokens.dtype)  # (b, k, d)
    q = q.view(b, k, h, e).permute(2, 0, 1, 3).reshape(h, b * k, e)
    asked = torch.bmm(q, weights.last_keys)  # (h, b k, d)
    asked = asked.view(h, b, k, d).permute(1, 0, 2, 3).reshape(b, h * k, d)
    scores = torch.bmm(asked, tokens.transpose(1, 2)) * e**-0.5  # (b, h k, n)
    if size is not None:
        scores = scores + size.to(scores.dtype).log().unsqueeze(1)
    mixed = torch.bmm(scores.softmax(-1), tokens)  # (b, h k, d)
    mixed = mixed.view(b, h, k, d).permute(1, 0, 2, 3).reshape(h, b * k, d)
    out = torch.bmm(mixed, weights.last_values.transpose(1, 2))  # (h, b k, e)
    out = out.view(h, b, k, e).permute(1, 2, 0, 3).reshape(b, k, d)
    if value_bias is not None:
        out = out + value_bias
    return out.to(normed.dtype)
