"""How much removing tokens in a block costs, from schedules of one block, and corrected by whole schedules.

Shapes: `k` blocks, `j` points, `s` schedules.

The tokens that a block removes first are those that resemble others most; those that are left resemble less. So a block
that `before` tokens enter and `after` leave is charged S(N - after) - S(N - before), where S is what removing so many
of all N in that block alone does to the model's answers. Blocks add up but for a weight each, which whole schedules
tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
_LEAST = 1e-12
"""Of a logarithm: the last block's merges may change nothing at all."""
_RIDGE = 0.1
"""How strongly a block's weight is held to that of the others, in schedules."""
_FLOOR = 0.1
"""Least weight of a block, of the common one: no block is for free because few schedules told."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What each block's removals cost."""

    num_tokens: int
    """Tokens `N` that enter the first block."""
    removed: tuple[int, ...]
    """(j,) tokens that one block removed, rising, from 1."""
    divergence: tuple[tuple[float, ...], ...]
    """(k, j) what came of it: mean divergence of the model's answers from its own without merging."""
    weights: tuple[float, ...]
    """(k,) by which a block counts in a whole schedule."""

    def curve(self, block: int, removed: int) -> float:
        """Return S of a block: a power of the tokens between and beyond what was measured, 0 at 0, without weight."""
        if removed <= 0:
            return 0.0
        x = np.log(self.removed)
        y = np.log(np.maximum.accumulate(np.maximum(self.divergence[block], _LEAST)))
        at = np.log(removed)
        if len(x) == 1:
            return float(np.exp(y[0] + at - x[0]))
        i = int(np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2))
        slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        if at < x[0] or at > x[-1]:
            slope = max(slope, 1.0)  # never cheaper per token than at the points
        base = i + 1 if at > x[-1] else i
        return float(np.exp(y[base] + slope * (at - x[base])))

    def block(self, block: int, before: int, after: int) -> float:
        """Return what a block costs that `before` tokens enter and `after` leave, with its weight."""
        return self.weights[block] * self._bare(block, before, after)

    def schedule(self, tokens: Sequence[int]) -> float:
        """Return what a whole schedule costs, of which `tokens` leave the blocks."""
        return float(np.dot(self.weights, self.parts(tokens)))

    def parts(self, tokens: Sequence[int]) -> list[float]:
        """Return what each block of a schedule costs, without weights."""
        entering = (self.num_tokens, *tokens[:-1])
        return [self._bare(i, before, after) for i, (before, after) in enumerate(zip(entering, tokens, strict=True))]

    def corrected(self, measured: Mapping[tuple[int, ...], float]) -> Sensitivity:
        """Return the same with weights that fit whole schedules: by the tokens that leave their blocks, what they cost.

        Least squares of relative errors with weights of at least 0, held to each other; nothing is changed by no
        schedules, or by those that cost nothing.
        """
        known = [(np.array(self.parts(tokens)), cost) for tokens, cost in measured.items()]
        known = [(parts, cost) for parts, cost in known if cost > _LEAST and parts.sum() > _LEAST]
        if not known:
            return self
        common = float(np.median([cost / parts.sum() for parts, cost in known]))
        rows = np.array([parts * common / cost for parts, cost in known])  # (s, k)
        depth = rows.shape[1]
        system = np.vstack([rows, np.sqrt(_RIDGE) * np.eye(depth)])
        wanted = np.concatenate([np.ones(len(rows)), np.full(depth, np.sqrt(_RIDGE))])
        weights, _ = nnls(system, wanted)
        return replace(self, weights=tuple(float(common * max(w, _FLOOR)) for w in weights))

    def matrices(self, levels: Sequence[int]) -> Floats:
        """Return (k, l, l) costs of every block by the levels, numbers of tokens, that enter and leave it."""
        depth = len(self.weights)
        at = np.array([[self.curve(i, self.num_tokens - n) for n in levels] for i in range(depth)])  # (k, l)
        steps = np.maximum(at[:, None, :] - at[:, :, None], 0.0)
        return np.asarray(np.array(self.weights)[:, None, None] * steps)

    def _bare(self, block: int, before: int, after: int) -> float:
        return max(0.0, self.curve(block, self.num_tokens - after) - self.curve(block, self.num_tokens - before))


def probe_removals(most: int, points: int = 4) -> tuple[int, ...]:
    """Return how many tokens one block removes in its probes, of `most` that it can: evenly up to all of them."""
    return tuple(sorted({max(1, round(most * (i + 1) / points)) for i in range(points)}))
