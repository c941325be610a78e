"""Disturbed points: drawn within the axes that the others span, or at the edge with their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.report.drawing.labels import SIZE
from bench.report.drawing.layout import APART
from bench.report.drawing.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INSET = 0.03
"""Distance from the edge at which a point beyond it is drawn, as a share of the axis."""


@dataclass(frozen=True, kw_only=True)
class PointApart:
    """A point that was measured while other processes disturbed it."""

    x: float
    y: float
    colour: str
    """Colour of its series."""
    words: tuple[str, str]
    """Texts for a point whose x, or y, is beyond the axis."""


def draw_apart(axis: Axes, points: Sequence[PointApart]) -> None:
    """Draw points as crosses without stretching the axis; a point beyond it is drawn at the edge, with its value.

    Everything else must be drawn first, in all axes that share a scale. If nothing else is drawn, the axis spans these
    points.
    """
    if not points:
        return
    if not any(np.size(line.get_xdata()) for line in axis.lines):
        axis.plot([point.x for point in points], [point.y for point in points], alpha=0)
    limits = np.array([axis.get_xlim(), axis.get_ylim()])  # (2 axes, 2 ends)
    axis.set_xlim(*limits[0])
    axis.set_ylim(*limits[1])
    inset = _INSET * (limits[:, 1] - limits[:, 0])
    for point in points:
        there = np.array([point.x, point.y])
        beyond = (there < limits[:, 0]) | (there > limits[:, 1])
        at = np.where(beyond, there.clip(limits[:, 0] + inset, limits[:, 1] - inset), there)
        axis.plot(*at, **APART, markeredgecolor=point.colour, zorder=3)
        if not beyond.any():
            continue
        right, top = at > limits.mean(axis=1)
        text = axis.annotate(
            ", ".join(word for word, out in zip(point.words, beyond, strict=True) if out),
            (float(at[0]), float(at[1])),
            xytext=(-5 if right else 5, -6 if top else 6),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top" if top else "bottom",
            fontsize=SIZE,
            color=GREY,
        )
        text.set_in_layout(False)
