"""Figures with one row per configuration: its name at the left, and its measurements beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.report.drawing.layout import balanced, panel_title
from bench.report.drawing.style import GREY
from bench.report.panels import panels
from bench.report.words import row_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 200
"""Most configurations in a figure; more would make a sheet that nobody can print."""
_AROUND = 1.0
"""Height of the legend and of the footnote together, inches."""
_GAP, _LINE, _HEAD = 0.06, 0.11, 0.42
"""Heights of the gap between two rows, of a line of a row's name, and of a panel's title and axis, inches."""
_LETTER, _SHARE = 0.058, 0.45
"""Width of a letter of DejaVu at 7 pt in inches, and the share of a figure's width that names may take."""


def row_axes(rows: pd.DataFrame, *, width: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure with an axis per panel of `rows`, from top to bottom, and every axis with its rows.

    The y axis shows the rows' names, and a new column `place` holds their positions on it. Disturbed rows are marked as
    such. `width`: inches. Raises ValueError for more than `MOST_ROWS` rows.
    """
    if len(rows) > MOST_ROWS:
        raise ValueError(
            f"{len(rows):,} configurations are too many for a line each, {MOST_ROWS} at most; the table has them"
        )
    import matplotlib.pyplot as plt

    groups = [panel for _, panel in panels(rows)]
    names = [_names(panel, int(_SHARE * width / _LETTER)) for panel in groups]
    row = _GAP + _LINE * max(name.count("\n") + 1 for column in names for name in column)
    heights = [_HEAD + row * len(panel) for panel in groups]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(width, _AROUND + sum(heights)), squeeze=False, height_ratios=heights
    )
    alone = len({tuple(panel[["machine", "shared_dtype", "shared_engine", "scope"]].iloc[0]) for panel in groups}) == 1
    placed = []
    for axis, panel, words in zip(axes[:, 0], groups, names, strict=True):
        panel = panel.assign(place=range(len(panel) - 1, -1, -1))
        apart = panel["status"] == "disturbed"
        axis.set_yticks(panel["place"], words)
        for label, is_apart in zip(axis.get_yticklabels(), apart, strict=True):
            label.set_color(GREY if is_apart else "black")
        axis.set_ylim(-0.7, len(panel) - 0.3)
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
        axis.set_title(panel_title(panel, int(width / 0.07), alone=alone), loc="left", size=8)
        placed.append((axis, panel))
    return figure, placed


def _names(panel: pd.DataFrame, letters: int) -> list[str]:
    """Return the names of the rows, wrapped to lines of at most `letters` characters."""
    names = panel.apply(row_name, axis=1) + (panel["status"] == "disturbed").map({True: " (disturbed)", False: ""})
    return [balanced(name, letters) for name in names]
