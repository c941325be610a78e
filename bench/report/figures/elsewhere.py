"""Scores that others published, drawn at the right edge of a figure, as their throughputs cannot be compared with ours.

Shapes: `n` published figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.report.drawing.layout import ELSEWHERE
from bench.report.drawing.style import GREY
from bench.report.published.figures import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = 5.0
"""Font size of a name, pt."""
_LINE = 5.8
"""Distance from one name to the next, pt."""
_MARKER = 5.0
"""Distance from the frame to the middle of a marker, pt."""
_NAME = 20.0
"""Distance from the frame to a name, pt."""
_LEADER = {"arrowstyle": "-", "color": GREY, "linewidth": 0.3, "shrinkA": 1, "shrinkB": 2.5, "relpos": (0, 0.5)}
"""Style of the line from a name's left end to its marker."""
_REACH = 1.0
"""How far outside the range of measured scores a published one is still drawn, as a share of that range."""
_INSET = 0.04
"""Margin above and below what is drawn, as a share of the axis."""


def reach_for(axis: Axes, figures: Sequence[Published]) -> list[Published]:
    """Extend the y axis to the published scores that are near the measured ones, and return these.

    Those further away would squeeze the measured ones together. All measured points must be drawn first.
    """
    low, high = axis.get_ylim()
    reach = _REACH * (high - low)
    near = [one for one in figures if low - reach <= one.score <= high + reach]
    if near:
        scores = [one.score for one in near]
        room = _INSET * (max(high, *scores) - min(low, *scores))
        axis.set_ylim(min(low, min(scores) - room), max(high, max(scores) + room))
    return near


def reserve_room(axis: Axes, figures: Sequence[Published]) -> None:
    """Reserve the room to the right of an axis in which `draw_elsewhere` will write names."""
    longest = max((_name(one) for one in figures), key=len)
    axis.annotate(
        longest,
        (1, 0.5),
        xycoords="axes fraction",
        xytext=(_NAME, 0),
        textcoords="offset points",
        fontsize=_SIZE,
        alpha=0,
    )


def draw_elsewhere(axis: Axes, figures: Sequence[Published]) -> None:
    """Draw a marker with a name for each figure, outside the frame, at its score. The layout must be final."""
    ranked = sorted(figures, key=lambda one: one.score)
    scale = 72.0 / axis.get_figure(root=True).dpi  # type: ignore[union-attr]
    frame = axis.get_window_extent()
    at = axis.transData.transform([(0, one.score) for one in ranked])[:, 1] * scale  # (n,)
    across, beside = 1 + _MARKER / (frame.width * scale), axis.get_yaxis_transform()
    places = _spread(at, frame.y0 * scale, frame.y1 * scale)
    for one, own, place in zip(ranked, at, places, strict=True):
        axis.plot(
            across,
            one.score,
            transform=beside,
            clip_on=False,
            scalex=False,
            scaley=False,
            **ELSEWHERE,
        )
        text = axis.annotate(
            _name(one),
            (across, one.score),
            xycoords=beside,
            xytext=(_NAME - _MARKER, place - own),
            textcoords="offset points",
            annotation_clip=False,
            va="center_baseline",
            ha="left",
            fontsize=_SIZE,
            color=GREY,
            arrowprops=_LEADER,
        )
        text.set_in_layout(False)


def _name(one: Published) -> str:
    """Return the text beside a marker; the score has three decimals, or the four that its source states."""
    return f"{one.model} {f'{one.score:.4f}'.removesuffix('0')}"


def _spread(at: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return places of names in the frame, as near to their markers (`at`, (n,) rising) as lines of text allow."""
    from scipy.optimize import isotonic_regression

    steps = _LINE * np.arange(len(at))
    return np.asarray(np.clip(isotonic_regression(at - steps).x, low, max(low, high - steps[-1])) + steps)
