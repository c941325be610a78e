"""What a cell's candidate really ran on.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from bench.records import schema
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import MergeTrace, TokenReduction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """What a cell's candidate runs on, to be looked at."""

    forward: Callable[[Tensor], Tensor]
    """(b, f, m) -> logits (b, c)."""
    tokens: Callable[[Tensor], tuple[int, ...]]
    """(b, f, m) -> tokens that left each block of a real forward."""
    engine: schema.EngineFacts | None
    """None where no engine was asked for."""
    int8_products: int | None = None
    """Products that ran in 8 bits; None where the engine has no such."""


def tokens_planned(geometry: Geometry, reduction: TokenReduction | None) -> tuple[int, ...]:
    """Return the tokens that leave each block by the schedule."""
    if reduction is None:
        return (geometry.num_tokens,) * geometry.depth
    return reduction.tokens_per_block(geometry)


def tokens_that_left(candidate: AudioSpectrogramTransformer, fbank: Tensor) -> tuple[int, ...]:
    """Run a forward and return the tokens that left each block; fbank: (b, f, m)."""
    trace = MergeTrace()
    candidate.forward_features(fbank, trace)
    return tuple(trace.tokens_per_block)
