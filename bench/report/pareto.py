"""Pareto dominance in throughput and quality, both to be maximised.

A point is *dominated* if another is at least as good in both and better in one. It is *clearly dominated* if the other
is better in both and their intervals overlap in neither: a point that is merely dominated might be on the front if it
were measured again. For quality, intervals of differences to one model on the same clips may be given: where two of
them do not overlap, the points differ, however correlated they are.

Shapes: `n` points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Point:
    """Throughput and quality of a configuration, each with a 95 % interval that contains it."""

    throughput: float
    """Clips per second."""
    quality: float
    """Mean average precision, or accuracy."""
    throughput_interval: tuple[float, float]
    """95 % interval of the throughput."""
    quality_interval: tuple[float, float]
    """95 % interval of the quality."""


def dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is at least as good as `b` in both and better in one."""
    at_least = a.throughput >= b.throughput and a.quality >= b.quality
    return at_least and (a.throughput > b.throughput or a.quality > b.quality)


def clearly_dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is better than `b` in both, and their intervals overlap in neither."""
    faster = a.throughput_interval[0] > b.throughput_interval[1]
    better = a.quality_interval[0] > b.quality_interval[1]
    return dominates(a, b) and faster and better


def pareto_front(points: Sequence[Point]) -> NDArray[np.bool_]:
    """Return which points no other dominates, (n,). Equal points are both on the front or both off it."""
    return np.array([not any(dominates(other, point) for other in points) for point in points], dtype=bool)


def standing(points: Sequence[Point]) -> list[str]:
    """Return for every point `front`, `dominated` (within the intervals of an axis or two) or `clearly dominated`."""
    words = []
    for point, on_front in zip(points, pareto_front(points), strict=True):
        if on_front:
            words.append("front")
        elif any(clearly_dominates(other, point) for other in points):
            words.append("clearly dominated")
        else:
            words.append("dominated")
    return words
