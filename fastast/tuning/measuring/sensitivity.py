"""How much it costs to remove tokens in a block, measured block by block and corrected by whole schedules.

Shapes: `k` blocks, `j` points, `s` schedules, `l` levels (numbers of tokens).

The tokens that are removed first resemble others most, and those that remain are less alike. So a block which `before`
tokens enter and `after` leave is charged S(N - after) - S(N - before), where S(r) is how far the model's answers move
if that block alone removes r of all N tokens. A schedule costs the sum over its blocks, each with a weight that is
fitted to whole schedules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]
_LEAST = 1e-12
"""Least divergence to take the logarithm of: the last block's merges may change nothing at all."""
_RIDGE = 0.1
"""How strongly a block's weight is pulled towards the common one, in numbers of schedules."""
_FLOOR = 0.1
"""Least weight of a block as a share of the common one: too few schedules must not make a block look free."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The cost of each block's removals."""

    num_tokens: int
    """Tokens `N` that enter the first block."""
    removed: tuple[int, ...]
    """(j,) numbers of tokens that one block removed, increasing, at least 1."""
    divergence: tuple[tuple[float, ...], ...]
    """(k, j) mean divergence that resulted, of the model's answers from its own without merging."""
    weights: tuple[float, ...]
    """(k,) weight of each block in a whole schedule."""

    def curve(self, block: int, removed: int) -> float:
        """Return S of a block, without its weight: a power law between and beyond the measured points, 0 at 0."""
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
            slope = max(slope, 1.0)  # beyond the last point, no cheaper per token than there
        base = i + 1 if at > x[-1] else i
        return float(np.exp(y[base] + slope * (at - x[base])))

    def block(self, block: int, before: int, after: int) -> float:
        """Return the weighted cost of a block which `before` tokens enter and `after` leave."""
        return self.weights[block] * self._bare(block, before, after)

    def schedule(self, tokens: Sequence[int]) -> float:
        """Return the cost of a whole schedule, given the number of tokens that leaves each block."""
        return float(np.dot(self.weights, self.parts(tokens)))

    def parts(self, tokens: Sequence[int]) -> list[float]:
        """Return the cost of each block of a schedule, without weights."""
        entering = (self.num_tokens, *tokens[:-1])
        return [self._bare(i, before, after) for i, (before, after) in enumerate(zip(entering, tokens, strict=True))]

    def corrected(self, measured: Mapping[tuple[int, ...], float]) -> Sensitivity:
        """Return a copy whose weights fit whole schedules, given as their costs by the tokens that leave each block.

        Non-negative least squares of the relative errors, with a ridge that pulls the weights together. Schedules that
        cost nothing are ignored; if none is left, the weights stay as they are.
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
        """Return the costs (k, l, l) of every block by the levels, numbers of tokens, that enter and leave it."""
        depth = len(self.weights)
        at = np.array([[self.curve(i, self.num_tokens - n) for n in levels] for i in range(depth)])  # (k, l)
        steps = np.maximum(at[:, None, :] - at[:, :, None], 0.0)
        return np.asarray(np.array(self.weights)[:, None, None] * steps)

    def _bare(self, block: int, before: int, after: int) -> float:
        return max(0.0, self.curve(block, self.num_tokens - after) - self.curve(block, self.num_tokens - before))


def probe_removals(most: int, points: int = 4) -> tuple[int, ...]:
    """Return the numbers of tokens that one block removes in its probes, evenly spaced up to the `most` it can."""
    return tuple(sorted({max(1, round(most * (i + 1) / points)) for i in range(points)}))
