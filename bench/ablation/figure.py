"""A figure in which twelve methods can be read: one small panel per method, with all the others in grey behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.ablation.evidence import Configuration
from bench.ablation.fronts import Front, by_speed, estimate, estimate_gain, minus
from bench.ablation.series import Alternatives, Series
from bench.ablation.tables import fronts_of
from bench.report.drawing.layout import fix_layout
from bench.report.drawing.style import COLOURS, DOUBLE, GREY, GUIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
_FAR = 3.0
"""Times the median method's loss, beyond which a method's line leaves the panels."""
_OTHERS = "#cccccc"
_REFERENCE = "#222222"


def facets(found: Alternatives, word: str) -> Figure:
    """Draw the loss of every alternative against its speed-up, a panel for each, its points with their intervals.

    Numbers beside points are `r`; dashed is the reference, grey are all others. Raises ValueError where none has both.
    """
    import matplotlib.pyplot as plt

    fronts = fronts_of(found, by_speed)
    shown = [one for one in found.series if one.name in fronts]
    if not shown:
        raise ValueError("no alternative has both a speed and a quality record")
    rows = math.ceil(len(shown) / COLUMNS)
    columns = min(COLUMNS, len(shown))
    figure, axes = plt.subplots(
        rows, columns, figsize=(DOUBLE, 0.6 + 1.65 * rows), sharex=True, sharey=True, squeeze=False
    )
    for place, axis in enumerate(axes.flat):
        if place >= len(shown):
            axis.set_visible(False)
            continue
        one = shown[place]
        for name, front in fronts.items():
            if name not in (one.name, found.reference.name):
                axis.plot(front.gain, front.quality - front.unmerged.value, color=_OTHERS, linewidth=0.7, zorder=1)
        if (reference := fronts.get(found.reference.name)) is not None and one is not found.reference:
            line = reference.quality - reference.unmerged.value
            axis.plot(reference.gain, line, color=_REFERENCE, linestyle="--", linewidth=0.8, zorder=2)
        _draw(axis, one, fronts[one.name], found, COLOURS[0])
        axis.set_title(one.name, loc="left", size=8)
        if place + columns >= len(shown):
            axis.tick_params(labelbottom=True)
    figure.supylabel(f"{word} minus unmerged", fontsize=8)
    figure.supxlabel("Speed-up over unmerged", fontsize=8)
    dashed = [f"dashed: {found.reference.name}"] if found.reference.name in fronts else []
    strides = ", or strides" if any(one.points[0].reduction is None for one in shown) else ""
    said = ["; ".join([*dashed, "grey: the others", f"numbers: tokens removed per block, mean (r){strides}"])]
    if slow := [one.name for one in found.series if one.name not in fronts]:
        said.append(f"no panel, as nothing of it is faster than unmerged: {', '.join(slow)}")
    said += _cut(axes[0, 0], {one.name: fronts[one.name] for one in shown})
    figure.suptitle("\n".join(said), fontsize=7, color=GREY)
    fix_layout(figure)
    return figure


def _cut(axis: Axes, fronts: Mapping[str, Front]) -> list[str]:
    """Cut all panels below what most methods lose, where a few lose far more, and return a line that says so."""
    worst = {name: float(front.unmerged.value - front.quality.min()) for name, front in fronts.items()}
    usual = _FAR * float(np.median(list(worst.values())))
    far = [name for name, loss in worst.items() if loss > usual > 0]
    if not far:
        return []
    lowest = 1.3 * max(loss for loss in worst.values() if loss <= usual)
    axis.set_ylim(bottom=-lowest, top=0.35 * lowest)
    return [f"cut at \N{MINUS SIGN}{lowest:.3f}: {', '.join(f'{name} loses up to {worst[name]:.3f}' for name in far)}"]


def _draw(axis: Axes, one: Series, front: Front, found: Alternatives, colour: str) -> None:
    """Draw a series: its front as a line, and every point with the intervals of loss and speed-up."""
    assert found.unmerged is not None and found.unmerged.quality is not None  # noqa: PT018
    axis.plot(front.gain, front.quality - front.unmerged.value, color=colour, linewidth=1.2, zorder=3)
    axis.axhline(0, color="#888888", linewidth=0.5, zorder=GUIDE)
    for point, r in zip(one.points, one.rs, strict=True):
        if point.speedup is None or point.quality is None:
            continue
        x, y = _place(point, found)
        axis.errorbar(
            x[0],
            y[0],
            xerr=[[x[0] - x[1]], [x[2] - x[0]]],
            yerr=[[y[0] - y[1]], [y[2] - y[0]]],
            color=colour,
            marker="o",
            markersize=3,
            elinewidth=0.7,
            zorder=4,
        )
        if r is not None:
            axis.annotate(
                str(r), (x[0], y[0]), xytext=(3, 3), textcoords="offset points", fontsize=6, color=colour, zorder=5
            )


def _place(point: Configuration, found: Alternatives) -> tuple[np.ndarray, np.ndarray]:
    """Return speed-up and loss of a point with their intervals, (3,) each."""
    assert point.speedup is not None and point.quality is not None  # noqa: PT018
    assert found.unmerged is not None and found.unmerged.quality is not None  # noqa: PT018
    x, y = estimate_gain(point.speedup), estimate(minus(point.quality, found.unmerged.quality))
    return np.array([x.value, x.low, x.high]), np.array([y.value, y.low, y.high])
