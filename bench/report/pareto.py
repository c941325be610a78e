"""Which points are worth having: dominance for throughput and quality, both to be maximised.

A point is *dominated* when another is at least as good in both and better in one. It is *clearly dominated* when the
other one is better in both beyond their intervals, of throughput and of quality: what is only dominated may as well be
on the front, were it measured again. For quality, intervals of differences to one model on the same clips may be given:
where two of them are apart, so are the points, however correlated.

Shapes: `n` points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Point:
    """A configuration with what it costs and gives; intervals are of 95 % and hold their value."""

    throughput: float
    """Clips a second."""
    quality: float
    """Mean average precision."""
    throughput_interval: tuple[float, float]
    """Where the throughput may be."""
    quality_interval: tuple[float, float]
    """Where the quality may be."""


def dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is at least as good as `b` in both and better in one."""
    at_least = a.throughput >= b.throughput and a.quality >= b.quality
    return at_least and (a.throughput > b.throughput or a.quality > b.quality)


def clearly_dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is better than `b` in both, and their intervals are apart in both."""
    faster = a.throughput_interval[0] > b.throughput_interval[1]
    better = a.quality_interval[0] > b.quality_interval[1]
    return dominates(a, b) and faster and better


def pareto_front(points: Sequence[Point]) -> NDArray[np.bool_]:
    """Return which points no other one dominates, (n,). Equal points are both on the front or both off it."""
    return np.array([not any(dominates(other, point) for other in points) for point in points], dtype=bool)


def standing(points: Sequence[Point]) -> list[str]:
    """Return for every point `front`, `dominated` (but within the intervals of one or both) or `clearly dominated`."""
    words = []
    for point, on_front in zip(points, pareto_front(points), strict=True):
        if on_front:
            words.append("front")
        elif any(clearly_dominates(other, point) for other in points):
            words.append("clearly dominated")
        else:
            words.append("dominated")
    return words
