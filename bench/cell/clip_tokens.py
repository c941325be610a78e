"""Counting tokens clip by clip, where their number varies: with a threshold, or at the clips' own length.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes, `n` clips, `k` blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.cell.engines.ran import tokens_planned
from bench.records import schema
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.macs import block_macs, model_macs, seen_tokens
from fastast.model import AudioSpectrogramTransformer
from fastast.own_length import OwnLengths
from fastast.reduction import MergeTrace, TokenReduction


class CountsTokens:
    """A model that records how many tokens each clip has after each block."""

    def __init__(
        self, model: AudioSpectrogramTransformer, reduction: TokenReduction | None, frames: Sequence[int] | None = None
    ) -> None:
        """`reduction`: the one attached to the model. `frames`: if clips shorter than the input are to run at their own
        length, the frames of every clip, in the order in which clips will come."""
        self._model, self._reduction, self._frames = model, reduction, frames
        self._lengths = OwnLengths(model)
        self._counts: list[NDArray[np.int64]] = []
        self._geometries: list[Geometry] = []

    def __call__(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c) of the next clips."""
        logits: list[Tensor] = [fbank] * len(fbank)
        counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(fbank)
        geometries = [self._model.geometry] * len(fbank)
        for model, places in self._groups(len(fbank)):
            trace = MergeTrace()
            found = model(fbank[places, : model.geometry.num_frames], trace)  # (places, c)
            left = trace.counts().cpu().numpy()  # (places, k)
            for row, place in enumerate(places):
                logits[place], counts[place], geometries[place] = found[row], left[row], model.geometry
        self._counts += counts
        self._geometries += geometries
        return torch.stack(logits)

    def _groups(self, count: int) -> list[tuple[AudioSpectrogramTransformer, list[int]]]:
        """Return the models that run the next clips, each with the indices of its clips among them."""
        if self._frames is None:
            return [(self._model, list(range(count)))]
        before = len(self._counts)
        groups = self._lengths.groups(self._frames[before : before + count])
        return [(self._at(frames), places) for frames, places in groups]

    def _at(self, frames: int) -> AudioSpectrogramTransformer:
        """Return the model for an input of `frames` frames, with the same reduction."""
        if frames == self._model.geometry.num_frames:
            return self._model
        model = self._lengths.model(frames)
        if self._reduction is not None and model.attached is None:
            reduce(model, self._reduction, attention=self._model.attention_kernel)
        return model

    @property
    def counts(self) -> NDArray[np.int64]:
        """Tokens of every clip so far after every block, (n, k)."""
        return np.stack(self._counts)

    def summary(self) -> schema.ClipTokens:
        """Return the distribution of tokens over the clips."""
        counts = self.counts
        left = Counter(counts[:, -1].tolist())
        return schema.ClipTokens(
            left={str(tokens): left[tokens] for tokens in sorted(left)},
            mean=tuple(counts.mean(axis=0).tolist()),
            least=tuple(counts.min(axis=0).tolist()),
            most=tuple(counts.max(axis=0).tolist()),
        )

    def of_clips(self, part: schema.ModelFacts) -> schema.ModelFacts:
        """Return facts with the clips' own tokens and multiply-accumulates (rounded means), not those of noise."""
        counts = self.counts
        ways = Counter(zip(self._geometries, map(tuple, counts.tolist()), strict=True))
        macs = [clip_macs(shape, self._reduction, left) * times for (shape, left), times in ways.items()]
        shortest = min(self._geometries, key=lambda shape: shape.num_frames)
        changed = {
            "tokens_in": round(sum(shape.num_tokens for shape in self._geometries) / len(counts)),
            "tokens_planned": tokens_planned(shortest, self._reduction),
            "tokens_measured": tuple(np.rint(counts.mean(axis=0)).astype(int).tolist()),
            "macs_per_clip": round(sum(macs) / len(counts)),
        }
        return part.model_copy(update=changed)


def clip_macs(geometry: Geometry, reduction: TokenReduction | None, left: Sequence[int]) -> int:
    """Return the multiply-accumulates of a clip with `left` tokens after each block, excluding padding.

    A block in which the schedule removes tokens pays for choosing them, even if no pair is similar enough.
    """
    if reduction is None:
        return model_macs(geometry, left)
    shape = geometry.encoder
    total, removals = shape.outside_macs, reduction.removals(shape)
    for block, (before, after) in enumerate(zip((shape.num_tokens, *left[:-1]), left, strict=True)):
        total += block_macs(shape, *seen_tokens(reduction.place, before, after))
        total += reduction.choosing_macs(shape, before, removals[block], block)
    return total
