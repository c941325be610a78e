"""How many tokens clips have, where a threshold leaves that to them.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes, `n` clips, `k` blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.records import schema
from fastast.geometry import Geometry
from fastast.macs import block_macs, seen_tokens
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, TokenReduction


class CountsTokens:
    """A model that notes how many tokens each clip had after each block."""

    def __init__(self, model: AudioSpectrogramTransformer) -> None:
        self._model = model
        self._counts: list[NDArray[np.int64]] = []

    def __call__(self, fbank: Tensor) -> Tensor:
        """(b, f, m) -> logits (b, c)."""
        trace = MergeTrace()
        logits: Tensor = self._model(fbank, trace)
        self._counts.append(trace.counts().cpu().numpy())
        return logits

    @property
    def counts(self) -> NDArray[np.int64]:
        """(n, k) tokens of every clip so far after every block."""
        return np.concatenate(self._counts)

    def summary(self) -> schema.ClipTokens:
        """Return the distribution over the clips."""
        counts = self.counts
        left = Counter(counts[:, -1].tolist())
        return schema.ClipTokens(
            left={str(tokens): left[tokens] for tokens in sorted(left)},
            mean=tuple(counts.mean(axis=0).tolist()),
            least=tuple(counts.min(axis=0).tolist()),
            most=tuple(counts.max(axis=0).tolist()),
        )

    def of_clips(self, part: schema.ModelFacts, reduction: TokenReduction, geometry: Geometry) -> schema.ModelFacts:
        """Return facts with tokens and multiply-accumulates as the clips had them, means rounded: noise has others."""
        counts = self.counts
        ways, times = np.unique(counts, axis=0, return_counts=True)
        macs = [clip_macs(geometry, reduction, way.tolist()) for way in ways]
        changed = {
            "tokens_measured": tuple(np.rint(counts.mean(axis=0)).astype(int).tolist()),
            "macs_per_clip": round(float(np.dot(times, macs)) / len(counts)),
        }
        return part.model_copy(update=changed)


def clip_macs(geometry: Geometry, reduction: TokenReduction, left: Sequence[int]) -> int:
    """Return the multiply-accumulates of a clip with so many tokens left after each block, without what pads it.

    Where the schedule removes tokens a block chooses, whether or not a pair is similar enough.
    """
    shape = geometry.encoder
    total, removals = shape.outside_macs, reduction.removals(shape)
    for block, (before, after) in enumerate(zip((shape.num_tokens, *left[:-1]), left, strict=True)):
        total += block_macs(shape, *seen_tokens(reduction.place, before, after))
        total += reduction.choosing_macs(shape, before, removals[block], block)
    return total
