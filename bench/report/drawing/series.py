"""How the series of a figure look, and the unmerged models beside them."""

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
    """Return a colour and a marker for every one of `series_of`. Raises ValueError for too many to tell apart."""
    return colour_of(series_of(rows))


def series_of(rows: pd.DataFrame) -> list[str]:
    """Return every series of rows in their order, but the unmerged model, which `style_of` knows.

    Where engines share a panel and one of them has no other series, its unmerged model is one.
    """
    unmerged = rows.apply(is_unmerged, axis=1).astype(bool)
    with_others = rows["setup"].isin(["", *rows.loc[~unmerged, "setup"]])
    series = rows[~unmerged | ~with_others]
    return list(dict.fromkeys(series.apply(series_name, axis=1)))


def style_of(row: pd.Series, styles: Styles) -> tuple[str, str]:
    """Return colour and marker of a row: its series', or a black star of the unmerged model.

    Where engines share a panel, an unmerged model has those of the first series of its engine, and `star` on it.
    """
    mine = (style for name, style in styles.items() if row["setup"] and name.startswith(f"{row['setup']}, "))
    return styles.get(series_name(row)) or next(mine, ("black", "*"))


def star(axis: Axes, x: Any, y: Any) -> None:
    """Draw a star in the middle of markers: an engine's unmerged model, which has its engine's marker."""
    axis.plot(x, y, "*", color="black", markersize=4, markeredgewidth=0.3, markeredgecolor="white", zorder=5)


def is_starred(row: pd.Series) -> bool:
    """Return whether a row is the unmerged model of one of several engines."""
    return is_unmerged(row) and bool(row["setup"])


def unmerged_keys(rows: pd.DataFrame) -> list[str]:
    """Return what a legend says of the unmerged models in rows: one black star, or one on every engine's marker."""
    starred = rows.apply(is_starred, axis=1).astype(bool)
    others = (rows["method"] == "none") & ~starred
    return ["starred"] * bool(starred.any()) + ["unmerged"] * bool(others.any())
