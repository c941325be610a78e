"""The search: of all paths through the blocks, find those that no other beats in both time and loss.

Shapes: `k` blocks, `l` levels (numbers of tokens, descending), `p` partial schedules.

Dynamic programming over (block, tokens left): the time and loss of a schedule are sums over its blocks, each a function
of the tokens that enter and leave the block. Every level keeps the Pareto front of its partial schedules, so that one
search answers every target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A schedule on the Pareto front."""

    seconds: float
    """Sum of the blocks' times."""
    loss: float
    """Sum of the blocks' losses."""
    levels: tuple[int, ...]
    """(k,) index of the level at which tokens leave each block."""


@dataclass(frozen=True)
class _Partial:
    """Paths to one level after one block, in order of increasing time and decreasing loss."""

    seconds: Floats
    """(p,) time of the blocks so far."""
    loss: Floats
    """(p,) loss of the blocks so far."""
    level: Indices
    """(p,) level at which tokens entered the block."""
    place: Indices
    """(p,) index of the path that led to that level."""


def search_front(seconds: Floats, losses: Floats, *, width: float = 0.0) -> list[FrontPoint]:
    """Return the Pareto front of all schedules, in order of increasing time and decreasing loss.

    seconds, losses: (k, l, l) of a block entered at level i and left at level j, infinite where that is impossible; the
    first block is entered at level 0. `width`: paths whose times fall into the same interval of this many seconds count
    as equally fast, and of these only the fastest and the best are kept; with 0 the front is exact, and can be very
    long. A result is at most k intervals slower than the fastest schedule of its loss.
    """
    depth, count, _ = seconds.shape
    start, nothing = np.zeros(1), np.empty(0)
    none = np.empty(0, dtype=np.intp)
    ways = [_Partial(start, start, np.zeros(1, np.intp), np.zeros(1, np.intp))]
    ways += [_Partial(nothing, nothing, none, none)] * (count - 1)
    history = []
    for block in range(depth):
        ways = [_reach(ways, seconds[block, :, j], losses[block, :, j], width) for j in range(count)]
        history.append(ways)
    ends = [(j, p) for j, way in enumerate(ways) for p in range(len(way.loss))]
    last = [(float(ways[j].seconds[p]), float(ways[j].loss[p]), j, p) for j, p in ends]
    front, best = [], np.inf
    for time, loss, j, p in sorted(last):
        if loss < best:
            best = loss
            front.append(FrontPoint(seconds=time, loss=loss, levels=_trace(history, j, p)))
    return front


def _reach(ways: list[_Partial], seconds: Floats, losses: Floats, width: float) -> _Partial:
    """Return the front of all paths to one level; seconds, losses: (l,) of the block, by the level of its input."""
    from_levels = [i for i in range(len(ways)) if np.isfinite(seconds[i]) and len(ways[i].loss)]
    if not from_levels:
        return _Partial(np.empty(0), np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp))
    time = np.concatenate([ways[i].seconds + seconds[i] for i in from_levels])
    loss = np.concatenate([ways[i].loss + losses[i] for i in from_levels])
    level = np.concatenate([np.full(len(ways[i].loss), i, np.intp) for i in from_levels])
    place = np.concatenate([np.arange(len(ways[i].loss), dtype=np.intp) for i in from_levels])
    order = np.lexsort((loss, time))
    better = np.ones(len(order), dtype=bool)
    ranked = loss[order]
    better[1:] = ranked[1:] < np.minimum.accumulate(ranked)[:-1]
    kept = order[better]
    if width:
        bucket = np.floor(time[kept] / width)
        first = np.append(True, bucket[1:] != bucket[:-1])
        kept = kept[first | np.append(first[1:], True)]  # the fastest and the best of every interval
    return _Partial(time[kept], loss[kept], level[kept], place[kept])


def _trace(history: list[list[_Partial]], level: int, place: int) -> tuple[int, ...]:
    levels = []
    for ways in reversed(history):
        levels.append(level)
        way = ways[level]
        level, place = int(way.level[place]), int(way.place[place])
    return tuple(reversed(levels))
