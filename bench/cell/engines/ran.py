"""What a cell's candidate actually ran on.

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
    """The candidate as it runs, for inspection."""

    forward: Callable[[Tensor], Tensor]
    """Forward pass, (b, f, m) -> logits (b, c)."""
    tokens: Callable[[Tensor], tuple[int, ...]]
    """Runs a forward pass of (b, f, m) and returns the tokens leaving each block."""
    engine: schema.EngineFacts | None
    """Facts about the engine; None in plain PyTorch."""
    int8_products: int | None = None
    """Number of matrix products that run in 8 bits; None if the engine has no int8."""


def tokens_planned(geometry: Geometry, reduction: TokenReduction | None) -> tuple[int, ...]:
    """Return the tokens leaving each block according to the schedule."""
    if reduction is None:
        return (geometry.num_tokens,) * geometry.depth
    return reduction.tokens_per_block(geometry)


def tokens_that_left(candidate: AudioSpectrogramTransformer, fbank: Tensor) -> tuple[int, ...]:
    """Run a forward pass and return the tokens leaving each block; fbank: (b, f, m)."""
    trace = MergeTrace()
    candidate.forward_features(fbank, trace)
    return tuple(trace.tokens_per_block)
