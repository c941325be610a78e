"""Colours and markers of a figure's series and of the unmerged models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.drawing.style import colour_of
from bench.report.words import is_unmerged, series_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Styles = dict[str, tuple[str, str]]
"""Colour and marker of every series."""


def styles_of(rows: pd.DataFrame) -> Styles:
    """Return a colour and a marker for each of `series_of`. Raises ValueError for more series than colours."""
    return colour_of(series_of(rows))


def series_of(rows: pd.DataFrame) -> list[str]:
    """Return the series of rows in their order, without the unmerged model, whose style `style_of` knows.

    Where engines share a panel, the unmerged model of an engine that has no other series counts as one.
    """
    unmerged = rows.apply(is_unmerged, axis=1).astype(bool)
    with_others = rows["setup"].isin(["", *rows.loc[~unmerged, "setup"]])
    series = rows[~unmerged | ~with_others]
    return list(dict.fromkeys(series.apply(series_name, axis=1)))


def style_of(row: pd.Series, styles: Styles) -> tuple[str, str]:
    """Return colour and marker of a row: those of its series, or a black star for the unmerged model.

    Where engines share a panel, an unmerged model has those of its engine's first series, with a `star` on top.
    """
    mine = (style for name, style in styles.items() if row["setup"] and name.startswith(f"{row['setup']}, "))
    return styles.get(series_name(row)) or next(mine, ("black", "*"))


def star(axis: Axes, x: Any, y: Any) -> None:
    """Draw a star in the middle of markers, for an engine's unmerged model, which has its engine's marker."""
    axis.plot(x, y, "*", color="black", markersize=4, markeredgewidth=0.3, markeredgecolor="white", zorder=5)


def is_starred(row: pd.Series) -> bool:
    """Return whether a row is the unmerged model of one of several engines."""
    return is_unmerged(row) and bool(row["setup"])


def unmerged_keys(rows: pd.DataFrame) -> list[str]:
    """Return the legend's keys for the unmerged models in rows: a black star, or a star on each engine's marker."""
    starred = rows.apply(is_starred, axis=1).astype(bool)
    others = (rows["method"] == "none") & ~starred
    return ["starred"] * bool(starred.any()) + ["unmerged"] * bool(others.any())
