"""Layout of figures: a row of panels per device, a column per batch size, a legend above and facts below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.drawing.series import Styles
from bench.report.drawing.style import DOUBLE, GREY
from bench.report.panels import PANEL, panels
from bench.report.words import (
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    row_name,
    scope_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 4
APART: dict[str, Any] = {"color": GREY, "marker": "x", "markersize": 4, "linestyle": "none"}
"""Style of a point that was disturbed and has no standing on the Pareto front."""
ELSEWHERE: dict[str, Any] = {
    "color": GREY,
    "marker": "D",
    "markerfacecolor": "white",
    "markeredgewidth": 0.7,
    "markersize": 3,
    "linestyle": "none",
}
"""Style of a score that others published."""
KEYS: dict[str, dict[str, Any]] = {
    "unmerged": {"color": "black", "marker": "*", "markersize": 8, "linestyle": "none", "label": "unmerged"},
    "starred": {
        "color": "black",
        "marker": "*",
        "markersize": 4,
        "linestyle": "none",
        "label": "with a star: unmerged",
    },
    "front": {"color": GREY, "marker": "o", "markerfacecolor": GREY, "label": "on the Pareto front"},
    "dominated": {"color": GREY, "marker": "o", "markerfacecolor": "white", "linestyle": "none", "label": "dominated"},
    "disturbed": APART | {"label": "disturbed, of no standing"},
    "elsewhere": ELSEWHERE | {"label": "published elsewhere"},
    "measured": {"color": GREY, "label": "measured"},
    "oracle": {"color": GREY, "linestyle": "--", "label": "slice oracle"},
    "macs": {"color": GREY, "linestyle": ":", "label": "ratio of MACs"},
}
"""Entries of legends other than the series."""


def about_left_out(rows: pd.DataFrame) -> str:
    """Return a note on the rows that were disturbed, for a figure that leaves them out; empty if none was."""
    gone = rows[rows["status"] == "disturbed"]
    names = dict.fromkeys(f"{row_name(row)} ({batch_words(row['batch_size'])})" for _, row in gone.iterrows())
    return f"disturbed and left out: {'; '.join(names)}" if names else ""


def error_bar(row: pd.Series, name: str, *, ends: str | None = None) -> list[list[float]] | None:
    """Return a value's error bar as matplotlib takes it, None without an interval.

    ends: the column whose interval is drawn, if not that of `name`.
    """
    low, high = (row[f"{ends or name}_{end}"] for end in ("low", "high"))
    return None if pd.isna([low, high]).any() else [[max(0.0, row[name] - low)], [max(0.0, high - row[name])]]


def error_bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Return how far the ends of a column's intervals are below and above its values, (2, rows)."""
    return np.abs(rows[[f"{name}_low", f"{name}_high"]].to_numpy().T - rows[name].to_numpy())


def grid(
    rows: pd.DataFrame, heights: Sequence[float], *, width: float = DOUBLE
) -> tuple[Figure, list[tuple[tuple[Axes, ...], pd.DataFrame]], list[Axes]]:
    """Return a figure, every panel of `rows` with its axes, and the axes at the left edge.

    A panel has one axis for each of `heights` (in inches), from top to bottom. Every device starts a row, and batch
    sizes are its columns; more than four of them take several rows, and in a figure as narrow as one column of a paper
    they are stacked. Axes of one kind in one row share their y axis.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    groups = [panel for _, panel in panels(rows)]
    batches = sorted(rows["batch_size"].unique())
    most = MOST_COLUMNS if width == DOUBLE else 1
    columns = len(batches) if len(batches) <= most else -(-len(batches) // -(-len(batches) // most))
    bands = -(-len(batches) // columns)  # rows of panels per device
    devices = list(dict.fromkeys(_device(panel) for panel in groups))
    count = len(devices) * bands
    figure, axes = plt.subplots(
        *(count * len(heights), columns),
        figsize=(width, (0.7 if width == DOUBLE else 1.1) + sum(heights) * count),
        squeeze=False,
        height_ratios=list(heights) * count,
        sharey="row",
    )
    used, placed = set(), []
    for panel in groups:
        band, column = divmod(batches.index(panel["batch_size"].iloc[0]), columns)
        first = (devices.index(_device(panel)) * bands + band) * len(heights)
        cells = [(first + i, column) for i in range(len(heights))]
        used.update(cells)
        placed.append((tuple(axes[cell] for cell in cells), panel))
        size = 8 if columns < 3 else 7
        letters = int((width - 0.65) / columns / 0.0085 / size)  # a letter of DejaVu takes about 0.0085 in per pt
        axes[cells[0]].set_title(panel_title(panel, letters, alone=len(devices) == 1), loc="left", size=size)
        for cell in cells:
            axes[cell].xaxis.set_major_locator(MaxNLocator(nbins=6 if columns < 3 else 4, steps=[1, 2, 5, 10]))
    left = []
    for place, axis in np.ndenumerate(axes):
        if place not in used:
            axis.set_visible(False)
        elif all((place[0], column) not in used for column in range(place[1])):
            left.append(axis)
            axis.tick_params(labelleft=True)
    return figure, placed, left


def legend(figure: Figure, styles: Styles, extra: Sequence[str], *, hollow: bool = False) -> None:
    """Write the legend above the panels: the series, `hollow` or filled, then the entries of `KEYS` named in `extra`.

    What all series share after their first comma becomes the title of the legend.
    """
    from matplotlib.lines import Line2D

    width = figure.get_figwidth()
    tails = {name.partition(", ")[2] for name in styles}
    common = tails.pop() if len(styles) > 1 and len(tails) == 1 else ""
    handles = [
        Line2D(
            *([], []),
            color=colour,
            marker=marker,
            markerfacecolor="none" if hollow else colour,
            linestyle="none",
            label=name.removesuffix(f", {common}"),
        )
        for name, (colour, marker) in styles.items()
    ]
    handles += [Line2D([], [], linewidth=0.9, **KEYS[name]) for name in extra]
    # At 7 pt, a letter of DejaVu takes about 0.058 in, and a handle 0.45 in.
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(width / (0.45 + 0.058 * widest))))
    if sum(0.45 + 0.058 * len(str(handle.get_label())) for handle in handles) < width:
        columns = len(handles)
    shown = figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=columns,
        handletextpad=0.4,
        columnspacing=1.2,
        title=common or None,
    )
    shown.get_title().set_fontsize(7)


def footnote(figure: Figure, *lines: str) -> None:
    """Write facts below the panels, wrapped to the width of the figure."""
    letters = int(figure.get_figwidth() / 0.0445)  # inches that a letter of DejaVu takes at 6 pt
    wrapped = [balanced(line, letters) for line in lines if line]
    figure.supxlabel("\n".join(wrapped), fontsize=6, color=GREY)


def balanced(text: str, letters: int) -> str:
    """Wrap text to as few lines of at most `letters` characters as possible, all of about the same length."""
    count = len(textwrap.wrap(text, letters))
    widths = range(1, letters + 1)
    return textwrap.fill(text, next((width for width in widths if len(textwrap.wrap(text, width)) <= count), letters))


def fix_layout(figure: Figure) -> None:
    """Lay out the figure once for all formats, so that nothing drawn later moves it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _device(panel: pd.DataFrame) -> tuple[Any, ...]:
    first = panel.iloc[0]
    return tuple(first[name] for name in PANEL if name != "batch_size")


def panel_title(panel: pd.DataFrame, letters: int, *, alone: bool) -> str:
    """Return the title of a panel: its batch size, with the device in front unless it is `alone` in the figure.

    Lines have at most `letters` characters.
    """
    first = panel.iloc[0]
    glue = "\N{NO-BREAK SPACE}"
    batch = batch_words(first["batch_size"]).replace("batch size ", "batch ").replace(" ", glue)
    if alone:
        return batch.replace(glue, " ").capitalize()
    what = f"{dtype_words(panel)}{engine_words(panel)}{scope_words(first)}"
    lines = textwrap.fill(f"{device_name(first)}, {batch}{what}", letters)
    return lines.replace(glue, " ")


def device_line(rows: pd.DataFrame) -> str:
    """Return the device of all panels and what it ran; empty where there are several, which titles name."""
    groups = [panel for _, panel in panels(rows)]
    if len({_device(panel) for panel in groups}) > 1:
        return ""
    first = groups[0].iloc[0]
    return f"{device_name(first)}{dtype_words(groups[0])}{engine_words(groups[0])}{scope_words(first)}"
