"""A figure in which twelve methods are legible: a small panel per method, with all others behind it in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.ablation.evidence import Configuration
from bench.ablation.fronts import Front, by_speed, estimate, estimate_gain, minus
from bench.ablation.series import Alternatives, Series
from bench.ablation.tables import fronts_of
from bench.report.drawing.labels import Label, place_labels
from bench.report.drawing.layout import balanced, fix_layout, footnote
from bench.report.drawing.side_by_side import side_by_side
from bench.report.drawing.style import COLOURS, DOUBLE, GREY, GUIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
_FAR = 3.0
"""Multiple of the median method's loss beyond which a method is cut off."""
_OTHERS = "#cccccc"
_REFERENCE = "#222222"
_LETTERS = int(DOUBLE / 0.054)
"""Letters in a line above the panels; a letter of DejaVu takes about 0.054 in at 7 pt."""
_BARS = "bars: 95 % intervals, of the difference in {} paired over clips, of the speed-up over rounds"
_Point = tuple[int | None, np.ndarray, np.ndarray]
"""r, and speed-up and difference in quality with their intervals, (3,) each: value, low, high."""
_Lines = list[np.ndarray]
"""Lines of speed-ups and differences in quality, (points, 2) each."""


def facets(found: Alternatives, word: str, *notes: str) -> Figure:
    """Draw the loss of every alternative against its speed-up, with a panel for each and an interval for every point.

    Numbers beside points are `r`; the reference is dashed, and all others are grey. Text above the panels says what has
    no point, and where panels are cut. notes: lines of the footnote. Raises ValueError if no alternative has both speed
    and quality.
    """
    fronts = fronts_of(found, by_speed)
    shown = [one for one in found.series if one.name in fronts]
    if not shown:
        raise ValueError("no alternative has both a speed and a quality record")
    columns = min(COLUMNS, len(shown))
    figure, axes = side_by_side(len(shown), columns, row=1.65, around=0.8, xlabel="Speed-up over unmerged")
    placed = {one.name: [(r, *_place(point, found)) for point, r in _measured(one)] for one in shown}
    lines: dict[str, _Lines] = {}
    for axis, one in zip(axes, shown, strict=True):
        lines[one.name] = _draw_lines(axis, one.name, fronts, found.reference.name)
        _draw_points(axis, placed[one.name])
        axis.set_title(one.name, loc="left", size=8)
    figure.supylabel(f"{word} minus unmerged", fontsize=8)
    footnote(figure, *notes, _BARS.format(word))
    dashed = [f"dashed: {found.reference.name}"] if found.reference.name in fronts else []
    strides = ", or strides" if any(one.points[0].reduction is None for one in shown) else ""
    said = ["; ".join([*dashed, "grey: the others", f"numbers: tokens removed per block, mean (r){strides}"])]
    said += _absent(found, fronts)
    said += _cut(axes[0], {name: np.stack([y for _, _, y in points]) for name, points in placed.items()})
    figure.suptitle("\n".join(balanced(line, _LETTERS) for line in said), fontsize=7, color=GREY)
    fix_layout(figure)  # labels need to know where things are
    for one, axis in zip(shown, axes, strict=True):
        _label(axis, placed[one.name], lines[one.name])
    return figure


def _measured(one: Series) -> list[tuple[Configuration, int | None]]:
    """Return the points of a series that have both speed and quality, each with its r or stride."""
    return [(at, r) for at, r in zip(one.points, one.rs, strict=True) if at.speedup and at.quality]


def _absent(found: Alternatives, fronts: Mapping[str, Front]) -> list[str]:
    """Return a line on points that were requested and cannot be drawn, and one on methods that have no panel."""
    missing = []
    for one in found.series:
        gone = [r for at, r in zip(one.points, one.rs, strict=True) if not (at.speedup and at.quality)]
        missing += [" ".join([one.name, " and ".join(str(r) for r in gone if r is not None)]).strip()] if gone else []
    slow = [one.name for one in found.series if one.name not in fronts and _measured(one)]
    said = (
        ("no point, as a speed was disturbed or not measured, or a quality was not", missing),
        ("no panel, as nothing of it is faster than unmerged", slow),
    )
    return [f"{why}: {', '.join(names)}" for why, names in said if names]


def _cut(axis: Axes, losses: Mapping[str, np.ndarray]) -> list[str]:
    """Cut all panels below what most methods lose, if a few lose far more, and return a line that says so.

    losses: differences in quality of every method, (points, 3), each with the ends of its interval. No other method is
    cut.
    """
    worst = {name: -float(values[:, 0].min()) for name, values in losses.items()}
    usual = _FAR * float(np.median(list(worst.values())))
    far = [name for name, loss in worst.items() if loss > usual > 0]
    if not far:
        return []
    near = np.concatenate([values for name, values in losses.items() if name not in far])
    lowest = max(-1.3 * near[:, 0].min(), -1.05 * near.min())
    axis.set_ylim(bottom=-lowest, top=max(0.35 * lowest, 1.05 * near.max()))
    return [f"cut at \N{MINUS SIGN}{lowest:.3f}: {', '.join(f'{name} loses up to {worst[name]:.3f}' for name in far)}"]


def _draw_lines(axis: Axes, name: str, fronts: Mapping[str, Front], reference: str) -> _Lines:
    """Draw the front of an alternative, the reference's dashed and all others grey; return those that are not grey."""
    lines = {other: np.stack([front.gain, front.quality - front.unmerged.value]) for other, front in fronts.items()}
    for other, line in lines.items():
        if other not in (name, reference):
            axis.plot(*line, color=_OTHERS, linewidth=0.7, zorder=1)
    if reference in lines and reference != name:
        axis.plot(*lines[reference], color=_REFERENCE, linestyle="--", linewidth=0.8, zorder=2)
    axis.plot(*lines[name], color=COLOURS[0], linewidth=1.2, zorder=3)
    axis.axhline(0, color="#888888", linewidth=0.5, zorder=GUIDE)
    return [line.T for other, line in lines.items() if other in (name, reference)]


def _draw_points(axis: Axes, points: Sequence[_Point]) -> None:
    """Draw points with the intervals of both loss and speed-up."""
    for _, x, y in points:
        axis.errorbar(
            x[0],
            y[0],
            xerr=[[x[0] - x[1]], [x[2] - x[0]]],
            yerr=[[y[0] - y[1]], [y[2] - y[0]]],
            color=COLOURS[0],
            marker="o",
            markersize=3,
            elinewidth=0.7,
            zorder=4,
        )


def _label(axis: Axes, points: Sequence[_Point], lines: _Lines) -> None:
    """Write r beside every point that is not cut off, where it covers neither lines nor intervals."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    inside = [(r, x, y) for r, x, y in points if left <= x[0] <= right and low <= y[0] <= high]
    labels = [
        Label(x=float(x[0]), y=float(y[0]), text=str(r), colour=COLOURS[0], above=True)
        for r, x, y in inside
        if r is not None
    ]
    bars = [bar for _, x, y in inside for bar in ([(x[1], y[0]), (x[2], y[0])], [(x[0], y[1]), (x[0], y[2])])]
    place_labels(axis, labels, lines=[*lines, [(left, 0.0), (right, 0.0)]], bars=bars)


def _place(point: Configuration, found: Alternatives) -> tuple[np.ndarray, np.ndarray]:
    """Return speed-up and difference in quality of a point with their intervals, (3,) each: value, low, high."""
    assert point.speedup is not None and point.quality is not None  # noqa: PT018
    assert found.unmerged is not None and found.unmerged.quality is not None  # noqa: PT018
    x, y = estimate_gain(point.speedup), estimate(minus(point.quality, found.unmerged.quality))
    return np.array([x.value, x.low, x.high]), np.array([y.value, y.low, y.high])
