"""ToMe's arithmetic in plain PyTorch, with the attention matrix in memory: the usual way to implement it.

Shapes: `b` batch, `f` frames, `m` mel bins, `h` heads, `n` tokens, `a` tokens of set A, `d` width, `c` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.cell.baselines.native import unmerged
from fastast.model import Attention, AudioSpectrogramTransformer, Block

if TYPE_CHECKING:
    from bench.cell.arm_setting import Arm, ArmSetting


class PlainToMe(nn.Module):
    """ToMe (arXiv 2210.09461) as its paper describes it, operation by operation, on the weights of `model`.

    Attention is explicit, matching sorts all candidates, tokens and sizes are merged in two passes, and an `r` that is
    too large is silently capped. The class and distillation tokens stay unmerged.
    """

    def __init__(
        self, model: AudioSpectrogramTransformer, removals: Sequence[int], *, proportional: bool = True
    ) -> None:
        super().__init__()
        self.model = unmerged(model)
        self.removals = tuple(removals)
        self.proportional = proportional

    def forward(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c)."""
        x = self.tokens(fbank)
        return self.model.head((x[:, 0] + x[:, 1]) / 2)

    def tokens(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> the last block's tokens after the norm, (b, n', d)."""
        x, size = self.model.embed(fbank), None
        for block, r in zip(self.model.blocks, self.removals, strict=True):
            assert isinstance(block, Block)
            out, metric = self._attend(block.attn, block.norm1(x), size if self.proportional else None)
            x = x + out
            r = min(r, (x.shape[1] - 2) // 2)
            if r > 0:
                x, size = _merge(x, size, metric, r)
            x = x + block.mlp(block.norm2(x))
        return self.model.norm(x)

    def _attend(self, attention: Attention, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """x: (b, n, d), size: (b, n, 1) or None -> output (b, n, d) and metric (b, n, d/h)."""
        b, n, d = x.shape
        heads = attention.num_heads
        qkv = attention.qkv(x).reshape(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # (b, h, n, d/h) each
        scores = (q * (d // heads) ** -0.5) @ k.transpose(-2, -1)  # (b, h, n, n)
        if size is not None:
            scores = scores + size.log()[:, None, None, :, 0]
        out = scores.softmax(dim=-1) @ v
        return attention.proj(out.transpose(1, 2).reshape(b, n, d)), k.mean(1)


def _merge(x: Tensor, size: Tensor | None, metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Merge `r` tokens. x: (b, n, d), size: (b, n, 1) or None, metric: (b, n, d/h) -> (b, n - r, d), (b, n - r, 1)."""
    metric = metric / metric.norm(dim=-1, keepdim=True)
    scores = metric[:, ::2] @ metric[:, 1::2].transpose(-1, -2)  # (b, a, n - a)
    scores[:, 0, :] = -torch.inf  # the class token is the first of A
    scores[:, :, 0] = -torch.inf  # the distillation token is the first of B
    best, partner = scores.max(dim=-1)  # (b, a)
    ranked = best.argsort(dim=-1, descending=True)
    merged, kept = ranked[:, :r], ranked[:, r:].sort(dim=-1).values
    target = partner.gather(1, merged)

    def add_up(values: Tensor) -> Tensor:
        width = values.shape[-1]
        in_a, in_b = values[:, ::2], values[:, 1::2]
        stay = in_a.gather(1, kept[..., None].expand(-1, -1, width))
        move = in_a.gather(1, merged[..., None].expand(-1, -1, width))
        in_b = in_b.scatter_reduce(1, target[..., None].expand(-1, -1, width), move, reduce="sum")
        return torch.cat([stay[:, :1], in_b[:, :1], stay[:, 1:], in_b[:, 1:]], dim=1)

    size = torch.ones_like(x[..., :1]) if size is None else size
    x, size = add_up(x * size), add_up(size)
    return x / size, size


def tome_plain_arm(at: ArmSetting) -> Arm:
    """Build the arm `tome_plain`, which removes as many tokens as the candidate."""
    proportional = at.reduction.proportional if at.reduction else True
    return at.plain(PlainToMe(at.model, at.removals, proportional=proportional))
