"""The search: of all ways through the blocks, those that no other beats in both time and loss.

Shapes: `k` blocks, `l` levels (numbers of tokens, descending), `p` partial schedules.

Dynamic programming over (block, tokens left): time and loss of a schedule are sums over its blocks, each a function of
the tokens that enter and leave it. Every level keeps the front of its partial schedules, so that one search answers
every target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A schedule on the front."""

    seconds: float
    """Sum of the blocks' times."""
    loss: float
    """Sum of the blocks' losses."""
    levels: tuple[int, ...]
    """(k,) index of the level that leaves each block."""


@dataclass(frozen=True)
class _Partial:
    """Ways to one level behind one block, by rising time and falling loss."""

    seconds: Floats
    """(p,)"""
    loss: Floats
    """(p,)"""
    level: Indices
    """(p,) level that entered the block."""
    place: Indices
    """(p,) which of that level's ways."""


def search_front(seconds: Floats, losses: Floats, *, width: float = 0.0) -> list[FrontPoint]:
    """Return the front of all schedules, by rising time and falling loss.

    seconds, losses: (k, l, l) of a block that level i enters and level j leaves, infinite where that is impossible; the
    first block is entered by level 0. `width`: schedules whose times are in one interval of so many seconds count as
    equally fast, of whose ways the fastest and the best are kept; at 0 the front is exact, and can be very long. A
    result is at most k intervals slower than the best of its loss.
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
    """Return the front of all ways to one level; seconds, losses: (l,) of the block, by the level that enters it."""
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
        kept = kept[first | np.append(first[1:], True)]  # of every interval the fastest, and the best
    return _Partial(time[kept], loss[kept], level[kept], place[kept])


def _trace(history: list[list[_Partial]], level: int, place: int) -> tuple[int, ...]:
    levels = []
    for ways in reversed(history):
        levels.append(level)
        way = ways[level]
        level, place = int(way.level[place]), int(way.place[place])
    return tuple(reversed(levels))
