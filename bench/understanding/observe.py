"""Run a model with a reduction and note, block by block, which tokens go where.

Shapes: `b` batch or bootstrap replicates, `c` clips, `m` tokens that merge, `n` tokens, `N` original tokens, `w` width
of a head, `f'` and `t'` patches along frequency and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.understanding.picture import gone_text
from bench.understanding.record import BlockNotes, MethodNotes
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import AttachedReduction, MergePlan, MergeTrace, TokenReduction
from fastast.reduction.combine import take_rows
from fastast.reduction.tokens import BlockTokens
from fastast.statistics import clip_weights, percentile_interval

BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Observed(AttachedReduction):
    """A reduction that notes every pair that merges."""

    pairs: dict[int, list[NDArray[np.float32]]] = field(default_factory=dict, compare=False, repr=False)
    """Pairs by block, batch by batch: distances in patches along frequency and time, and similarity, (pairs, 3)."""

    def choose(self, tokens: BlockTokens, r: int) -> MergePlan:
        """Choose as the method does, and note the pairs that it chose."""
        plan = super().choose(tokens, r)
        if plan.merged is not None and plan.target is not None:
            self.pairs.setdefault(tokens.block, []).append(_pairs(tokens, plan))
        return plan


def observe(
    model: AudioSpectrogramTransformer,
    reduction: TokenReduction,
    features: Tensor,
    events: NDArray[np.bool_],
    *,
    picture: int = 0,
) -> MethodNotes:
    """Return what a reduction does to clips in every block.

    model: without a reduction. features: (c, f, m). events: (c, t'), whether anything sounds in a column of patches.
    picture: index of the clip whose patches are noted one by one.
    """
    prefix, (rows, columns) = model.encoder.num_prefix_tokens, model.encoder.grid
    attached = AttachedReduction.of(reduction, model.encoder)
    observed = Observed(**{name: getattr(attached, name) for name in ("reduction", "removals", "num_protected")})
    gone: list[list[Tensor]] = []
    model.attached = observed
    try:
        with torch.inference_mode():
            for batch in features.split(BATCH):
                trace = MergeTrace()
                model.forward_features(batch, trace)
                gone.append([_gone(source)[:, prefix:] for source in trace.source])  # (b, N - prefix) each
    finally:
        model.attached = None
    left = torch.stack([torch.cat(clips) for clips in zip(*gone, strict=True)], dim=1).numpy()  # (c, blocks, f' t')
    busy = np.repeat(events[:, None, :], rows, axis=1).reshape(len(events), rows * columns)  # (c, f' t')
    leads = _silence_leads(left, busy)  # (1 + b, blocks)
    blocks = [
        _notes(
            np.concatenate(observed.pairs.get(block, [np.empty((0, 3), np.float32)])),  # (pairs, 3)
            left[:, block],
            busy,
            leads[:, block],
        )
        for block in range(model.encoder.depth)
    ]
    return MethodNotes(
        method=reduction.method,
        schedule=str(reduction.schedule),
        blocks=tuple(blocks),
        silence_leads=_interval(leads.mean(1)),
        gone_at=gone_text(left[picture].reshape(len(blocks), rows, columns)),
    )


def _silence_leads(gone: NDArray[np.bool_], busy: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of silent patches that are gone minus that of sounding ones, (1 + b, blocks).

    The first row is for the clips as they are, the others for bootstrap draws of them. Without silence, or without
    sound, rows are NaN. gone: (c, blocks, f' t'). busy: (c, f' t').
    """
    draws = np.vstack([np.ones(len(busy), np.int64), clip_weights(len(busy), seed=0)])  # (1 + b, c)
    shares = []
    for where in (~busy, busy):
        went, there = (gone & where[:, None]).sum(-1), where.sum(-1)  # (c, blocks), (c,)
        with np.errstate(invalid="ignore"):
            shares.append((draws @ went) / (draws @ there)[:, None])  # (1 + b, blocks)
    return shares[0] - shares[1]


def _interval(leads: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Return lower end, value and upper end of the interval of values (1 + b,), the first of which is as measured."""
    if np.isnan(leads[0]):
        return None
    low, high = percentile_interval(leads[1:][~np.isnan(leads[1:])])
    return round(low, 4), round(float(leads[0]), 4), round(high, 4)


def _pairs(tokens: BlockTokens, plan: MergePlan) -> NDArray[np.float32]:
    """Return distances and similarity of the pairs of a block, (pairs, 3); pairs with a prefix token are left out.

    A pair is a token and the owner of the slot that it joins; similarity is the cosine of their keys, which are
    averaged over heads.
    """
    assert plan.merged is not None and plan.target is not None  # noqa: PT018
    b, n = tokens.batch, tokens.num_tokens
    owner = plan.owner if isinstance(plan.owner, Tensor) else torch.arange(n)[plan.owner].expand(b, -1)
    host = owner.gather(1, plan.target.clamp_min(0))  # (b, m)
    keys = F.normalize(tokens.keys.mean(1).float(), dim=-1)  # (b, n, w)
    alike = (take_rows(keys, plan.merged) * take_rows(keys, host)).sum(-1)  # (b, m)
    mine, theirs = take_rows(tokens.places, plan.merged), take_rows(tokens.places, host)  # (b, m, 2)
    kept = (plan.target >= 0) & (mine >= 0).all(-1) & (theirs >= 0).all(-1)  # (b, m)
    found = torch.cat([(mine - theirs).abs(), alike.unsqueeze(-1)], dim=-1)  # (b, m, 3)
    return found[kept].numpy()


def _gone(source: Tensor) -> Tensor:
    """Return which original tokens are dropped, or are part of a token that another one owns, (b, N) bool.

    The first of the original tokens in a token counts as its owner, which affects no share.
    """
    b, n = source.shape
    positions = torch.arange(n).expand(b, -1)
    slots = source.clamp_min(0).long()
    taken = torch.where(source >= 0, positions, n)
    first = torch.full((b, n), n).scatter_reduce(1, slots, taken, "amin")  # (b, N) first original of each token
    return (source < 0) | (first.gather(1, slots) != positions)


def _notes(
    pairs: NDArray[np.float32], gone: NDArray[np.bool_], busy: NDArray[np.bool_], leads: NDArray[np.float64]
) -> BlockNotes:
    apart_f, apart_t, alike = pairs.T
    return BlockNotes(
        pairs=len(pairs),
        along_time=_share((apart_t > 0) & (apart_f == 0)),
        along_frequency=_share((apart_f > 0) & (apart_t == 0)),
        neighbours=_share(np.maximum(apart_f, apart_t) <= 1),
        similarity=_quantiles(alike),
        gone_sounding=_share(gone[busy]),
        gone_silent=_share(gone[~busy]),
        silence_leads=_interval(leads),
    )


def _share(values: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def _quantiles(values: NDArray[np.float32]) -> tuple[float, float, float] | None:
    if not len(values):
        return None
    low, middle, high = (round(float(value), 4) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return low, middle, high
