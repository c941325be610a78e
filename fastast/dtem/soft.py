"""Merging relaxed so that it has gradients: every token of A gives a share of itself to every token of B.

Shapes: `b` batch, `n` tokens, `p` tokens that stay, `a` unprotected tokens of set A, `c` of set B, `d` width, `w` width
of an embedding.

DTEM (Lee and Hong 2024, arXiv 2412.10569) relaxes ToMe's matching: here its `r` pairs are drawn one after another,
each as a softmax over all pairs; then log(1 - share drawn) is added to every row's scores (the continuous k-nearest
neighbours of Plötz and Roth 2018, arXiv 1810.12575). Tokens then have fractional sizes, and attention is proportional
to them. Our own choice: the tokens that leave a block are those that leave it at inference, so that a forward pass in
training has the same number of tokens, in the same order, as the one it trains for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, BlockTokens, MergePlan, TokenReduction
from fastast.reduction.choosing.compare import similarity
from fastast.reduction.choosing.matching import first_positions, merge_best
from fastast.reduction.choosing.precision import without_autocast
from fastast.reduction.forward.encode import encode
from fastast.reduction.forward.stages import BlockAdapter, ModuleStages

LEAST_SIZE = 1e-3
"""Smallest size of a token that has given itself away; not 0, because attention takes the size's logarithm."""
_MOST = 1 - 1e-6
"""Largest share of a row in a single draw."""

Embed = Callable[[Tensor, int], Tensor]
"""Takes the tokens that enter a block (b, n, d) and the block's index; returns their embeddings (b, n, w)."""


def soft_groups(scores: Tensor, r: int, temperature: float) -> Tensor:
    """Return the share of every token of A that goes to each of B, (b, a, c) -> (b, a, c), in total about `r`.

    A softmax over all pairs is one over rows (of their log-sum-exp) times one within each row, and removing rows
    changes only the first: so `r` draws cost `r` softmaxes over `a` numbers, not over `a c`.
    """
    scaled = scores / temperature
    rows = scaled.logsumexp(-1)  # (b, a)
    leaves = torch.zeros_like(rows)
    for _ in range(r):
        drawn = rows.softmax(-1)
        leaves = leaves + drawn
        rows = rows + torch.log1p(-drawn.clamp_max(_MOST)) / temperature
    return leaves.clamp_max(1).unsqueeze(-1) * scaled.softmax(-1)


@dataclass(frozen=True, kw_only=True)
class SoftPlan:
    """The shares, and the plan that decides which tokens stay."""

    hard: MergePlan
    """The plan that inference would follow."""
    share: Tensor
    """(b, a, c) share of each token of A that goes to each of B."""
    first: tuple[int, int]
    """First positions of A and of B."""

    def merge(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give all shares away, then drop the tokens that leave: (b, n, d) and sizes (b, n) -> (b, p, d) and (b, p)."""
        size = torch.ones(x.shape[:2], device=x.device) if size is None else size
        a, c = (slice(first, None, 2) for first in self.first)
        given = self.share * size[:, a, None]  # (b, a, c)
        grown = size[:, c] + given.sum(1)  # (b, c)
        shrunk = (size[:, a] * (1 - self.share.sum(2))).clamp_min(LEAST_SIZE)  # (b, a)
        wide = x.to(torch.promote_types(x.dtype, given.dtype))
        with without_autocast(x):
            joined = wide[:, c] * size[:, c, None] + given.transpose(1, 2) @ wide[:, a]  # (b, c, d)
        wide, size = wide.clone(), size.to(grown.dtype, copy=True)
        wide[:, c] = joined / grown.unsqueeze(-1)
        size[:, a], size[:, c] = shrunk, grown
        return self.hard.take_owners(wide).to(x.dtype), self.hard.take_owners(size)

    def to_merge_plan(self) -> MergePlan:
        """Return the plan that inference would follow."""
        return self.hard


class SoftStages(ModuleStages):
    """The stages of a model in plain torch, with soft groups in place of a method's choice."""

    def __init__(
        self, model: AudioSpectrogramTransformer, embed: Embed, temperature: float, kernel: str = "auto"
    ) -> None:
        """`temperature`: that of the softmaxes, in cosines."""
        blocks: list[BlockAdapter] = list(model.blocks)  # type: ignore[arg-type]
        super().__init__(model.encoder, blocks, kernel)
        self._embed, self._temperature = embed, temperature

    def choose(self, tokens: BlockTokens, r: int, attached: AttachedReduction) -> SoftPlan:  # type: ignore[override]
        """Return the shares of `r` pairs, with gradients to the embedding."""
        metric = self._embed(tokens.before, tokens.block)  # (b, n, w)
        first, b = first_positions(tokens.num_protected), tokens.batch
        of_a, of_b = (slice(one, None, 2) for one in first)
        scores = similarity(metric, of_a, of_b)  # (b, a, c)
        positions = torch.arange(tokens.num_tokens, device=tokens.device).expand(b, -1)
        with torch.no_grad():
            hard = merge_best(
                *(scores, r, positions[:, first[0] :: 2], positions[:, first[1] :: 2]),
                num_tokens=tokens.num_tokens,
                num_protected=tokens.num_protected,
                order="tome",
            )
        return SoftPlan(hard=hard, share=soft_groups(scores, r, self._temperature), first=first)

    def merge(  # type: ignore[override]
        self, tokens: BlockTokens, plan: SoftPlan, reduction: TokenReduction
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Merge the tokens softly after attention."""
        x, size = plan.merge(tokens.after, tokens.size)
        return x, x, size


def soft_forward(
    model: AudioSpectrogramTransformer,
    fbank: Tensor,
    attached: AttachedReduction,
    embed: Embed,
    *,
    temperature: float,
    kernel: str = "auto",
) -> Tensor:
    """Run a model with relaxed merging: filterbank (b, f, m) -> logits (b, classes).

    `attached` says how many tokens each block removes, and which are protected; its method is ignored.
    """
    x, _, _ = encode(SoftStages(model, embed, temperature, kernel), model.embed(fbank), attached)
    return model.head(model.norm(x)[:, :2].mean(1))
