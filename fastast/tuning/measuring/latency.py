"""Measured cost of a block by its number of tokens.

Shapes: `k` blocks, `l` levels (numbers of tokens).

If a part of a block appears to cost less with more tokens, that is noise, so the costs are the closest fit that never
decreases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from fastast.encoder import EncoderShape


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A cost by number of tokens: linear between the measured numbers, proportional below them, constant above."""

    tokens: tuple[int, ...]
    """Measured numbers of tokens, increasing."""
    seconds: tuple[float, ...]
    """Cost at each of those numbers; never decreases."""

    @classmethod
    def of(cls, points: Mapping[int, Sequence[float]]) -> Curve:
        """Fit a curve that never decreases to the medians of `points`, each weighted by its number of values."""
        tokens = sorted(points)
        medians = [float(np.median(points[n])) for n in tokens]
        fitted = isotonic_regression(medians, weights=[len(points[n]) for n in tokens]).x
        return cls(tokens=tuple(tokens), seconds=tuple(map(float, fitted)))

    def __call__(self, tokens: int) -> float:
        """Return the seconds that this many tokens cost."""
        if tokens < self.tokens[0]:
            return self.seconds[0] * tokens / self.tokens[0]
        return float(np.interp(tokens, self.tokens, self.seconds))


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Seconds per batch, by block and number of tokens."""

    num_tokens: int
    """Tokens that enter the first block."""
    depth: int
    """Number of blocks."""
    whole: float
    """Attention over all tokens, where no token sizes weight it."""
    attention: Curve
    """Attention over fewer tokens, by the number that enters."""
    choosing: Curve
    """Time that choosing and merging adds to a block that removes tokens, by the number that enters."""
    rest: Curve
    """MLP and residual sums, by the number of tokens that leaves."""
    last: Curve
    """The last block if it removes nothing, by its tokens: it may compute only what the head reads."""
    outside: float
    """Everything that is timed outside the blocks: the embedding, and with kernels the head."""

    def block(self, block: int, before: int, after: int) -> float:
        """Return the seconds of a block which `before` tokens enter and `after` leave."""
        if block == self.depth - 1 and before == after:
            return self.last(before)
        attention = self.whole if before == self.num_tokens else self.attention(before)
        return attention + self.rest(after) + (self.choosing(before) if after < before else 0.0)

    def forward(self, tokens: Sequence[int]) -> float:
        """Return the seconds of a forward pass, given the number of tokens that leaves each block."""
        entering = (self.num_tokens, *tokens[:-1])
        blocks = (self.block(i, *pair) for i, pair in enumerate(zip(entering, tokens, strict=True)))
        return self.outside + sum(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: [v.tokens, v.seconds] if isinstance(v, Curve) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatencyTable:
        """Return the table that `to_dict` turned into plain values."""
        read: dict[str, Any] = {
            name: Curve(tokens=tuple(v[0]), seconds=tuple(v[1])) if isinstance(v, list | tuple) else v
            for name, v in values.items()
        }
        return cls(**read)


@dataclass(frozen=True, kw_only=True)
class BlockTimes:
    """Tokens before and after one block in one schedule, and its seconds: attention, choosing and merging, and all."""

    block: int
    before: int
    after: int
    attention: float
    choosing: float
    whole: float


def table_of(shape: EncoderShape, times: Sequence[BlockTimes], outside: Sequence[float]) -> LatencyTable:
    """Make a table of the blocks' times and the times outside them."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    whole: list[float] = []
    for one in times:
        if one.block == shape.depth - 1 and one.before == one.after:
            points["last"][one.before].append(one.whole)
            continue
        if one.before == shape.num_tokens:
            whole.append(one.attention)
        else:
            points["attention"][one.before].append(one.attention)
        if one.after < one.before:
            points["choosing"][one.before].append(one.choosing)
        points["rest"][one.after].append(one.whole - one.attention - one.choosing)
    return LatencyTable(
        num_tokens=shape.num_tokens,
        depth=shape.depth,
        whole=float(np.median(whole)),
        outside=float(np.median(outside)),
        **{name: Curve.of(points[name]) for name in ("attention", "choosing", "rest", "last")},
    )


def cost_matrices(table: LatencyTable, levels: Sequence[int], limit: Callable[[int, int], int]) -> NDArray[np.float64]:
    """Return the seconds (k, l, l) of each block by the levels that enter and leave it, infinite beyond its limit."""
    found = np.full((table.depth, len(levels), len(levels)), np.inf)
    for block in range(table.depth):
        for i, before in enumerate(levels):
            most = limit(before, block)
            for j in range(i, len(levels)):
                if before - levels[j] > most:
                    break
                found[block, i, j] = table.block(block, before, levels[j])
    return found
