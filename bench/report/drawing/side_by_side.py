"""Panels of one kind side by side, one per alternative, method or arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.drawing.style import DOUBLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def side_by_side(count: int, columns: int, *, row: float, around: float, xlabel: str = "") -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in rows of `columns`, which share both axes.

    Panels without one below them have numbers at their x axis; those of the last row are also labelled `xlabel`. row:
    height of a row, around: that of everything else, in inches.
    """
    import matplotlib.pyplot as plt

    rows = -(-count // columns)
    size = (DOUBLE, around + row * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= count:
            axis.set_visible(False)
            continue
        if place + columns >= count:
            axis.tick_params(labelbottom=True)
        if xlabel and place // columns == rows - 1:
            axis.set_xlabel(xlabel, size=7)
    return figure, list(axes.flat[:count])
