"""What merging gains, speed-up against r beside its limits, and what it costs at that speed-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.layout import device_line, fix_layout, footnote, grid, legend
from bench.report.drawing.series import styles_of
from bench.report.drawing.style import DOUBLE, GREY, GUIDE
from bench.report.figures.apart import PointApart, draw_apart
from bench.report.words import facts_line, is_denominator, is_unmerged, score_word, series_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CROWD = 4
"""Intervals at one r that share a value, from which on they could not be told apart."""
_ASIDE = 0.018
"""How far apart they then stand, of the largest r."""


def merging_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw what merging gains, speed-up against r, and what it costs, the score against that speed-up.

    With the speed-up of the slice oracle, which removes as many tokens for free, and the ratio of MACs. `width`:
    inches. Raises ValueError where no schedule has an r, or all have the same.
    """
    rows = joined[joined["r"].notna() & joined["speedup_unmerged"].notna()].copy()
    if rows[rows["method"] != "none"].empty:
        raise ValueError("no merged configuration with an r was timed against the unmerged model")
    if rows["r"].nunique() < 2:
        raise ValueError("all configurations remove the same number of tokens")
    styles = styles_of(rows)
    compared = bool(_costs(rows)["delta_score"].notna().any())
    crowded = False
    apart: dict[Axes, list[PointApart]] = {}
    figure, placed, left = grid(rows, heights=[2.4, 1.7] if compared else [2.4], width=width)
    for axes, panel in placed:
        names, unmerged = panel.apply(series_name, axis=1), panel.apply(is_unmerged, axis=1).astype(bool)
        beside = _beside(panel[~unmerged], names)
        crowded |= bool(beside)
        for name, (colour, marker) in styles.items():
            own = panel["setup"].isin(panel.loc[names == name, "setup"])  # the unmerged model of the same engine
            line = panel[(names == name) | (unmerged & own)].sort_values("r")
            if (names == name).any():
                _draw_gain(axes[0], line, colour, marker, beside.get(name, 0.0))
                apart.setdefault(axes[0], []).extend(_apart(line, colour))
            if compared:
                _draw_cost(axes[1], line, colour, marker)
        axes[0].axhline(1, color=GREY, linewidth=0.6, zorder=GUIDE)
        narrow = width / axes[0].get_subplotspec().get_gridspec().ncols < 3  # type: ignore[union-attr]
        axes[0].set_xlabel("Mean r" if narrow else "Tokens removed per block, mean (r)")
        if compared:
            axes[1].axhline(0, color=GREY, linewidth=0.6, zorder=GUIDE)
            axes[1].set_xlabel("Speed-up over unmerged")
            if _costs(panel).empty:  # an empty frame from 0 to 1 would look like a measurement
                axes[1].set_xticks([])
                axes[1].set_yticks([])
                axes[1].text(0.5, 0.5, "nothing undisturbed", transform=axes[1].transAxes, ha="center", color=GREY)
    for axis, points in apart.items():
        draw_apart(axis, points)
    for i, axis in enumerate(left):
        axis.set_ylabel(f"{score_word(rows)} minus unmerged" if compared and i % 2 else "Speed-up over unmerged")
    oracle = ["oracle"] if rows["speedup_slice"].notna().any() else []
    crosses = ["disturbed"] if (rows["status"] == "disturbed").any() else []
    legend(figure, styles, ["measured", *oracle, "macs", *crosses])
    aside = "marks of one r stand side by side" if crowded else ""
    footnote(figure, device_line(rows), facts_line(rows), aside)
    fix_layout(figure)
    return figure


def _beside(merged: pd.DataFrame, names: pd.Series) -> dict[str, float]:
    """Return by how much r the marks of each series stand aside, where some would cover each other."""
    series = list(dict.fromkeys(names[merged.index]))
    drawn = merged[merged["status"] != "disturbed"]
    if not any(_most_at_once(at_one_r) >= _CROWD for _, at_one_r in drawn.groupby("r")):
        return {}
    step = _ASIDE * merged["r"].max()
    return {name: (place - (len(series) - 1) / 2) * step for place, name in enumerate(series)}


def _most_at_once(rows: pd.DataFrame) -> int:
    """Return how many intervals of the speed-up share a value at most; one that is not known is its point."""
    low, high = (rows[f"speedup_unmerged_{end}"].fillna(rows["speedup_unmerged"]).to_numpy() for end in ("low", "high"))
    return int(((low <= low[:, None]) & (low[:, None] <= high)).sum(1).max())


def _draw_gain(axis: Axes, line: pd.DataFrame, colour: str, marker: str, aside: float) -> None:
    everything = line[line["method"] != "none"]
    unmerged = line[line["method"] == "none"]
    merged = everything[everything["status"] != "disturbed"]
    start = [0.0] if len(unmerged) else []
    # r = 0 is the unmerged model itself, except where that is measured on another engine.
    there = [1.0 if is_denominator(row) else row["speedup_unmerged"] for _, row in unmerged.iloc[:1].iterrows()]
    sliced = merged.dropna(subset=["speedup_slice"])
    limit = sliced["speedup_unmerged"] / sliced["speedup_slice"]
    for r, values, first, style, width in (
        (merged["r"] + aside, merged["speedup_unmerged"], there, "-", 1.0),
        (sliced["r"], limit, there, "--", 0.9),
        (everything["r"], everything["macs_ratio"], [1.0] * len(start), ":", 0.9),
    ):
        axis.plot([*start, *r], [*first, *values], color=colour, linestyle=style, linewidth=width)
    axis.errorbar(
        merged["r"] + aside,
        merged["speedup_unmerged"],
        yerr=_bars(merged, "speedup_unmerged"),
        color=colour,
        marker=marker,
        linestyle="none",
        capsize=1.5,
        elinewidth=0.8,
    )


def _apart(line: pd.DataFrame, colour: str) -> list[PointApart]:
    disturbed = line[(line["method"] != "none") & (line["status"] == "disturbed")]
    return [
        PointApart(x=r, y=value, colour=colour, words=(f"r = {r:.0f}", f"{value:.1f} times"))
        for r, value in zip(disturbed["r"], disturbed["speedup_unmerged"], strict=True)
    ]


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose cost is drawn: merged ones whose speed can be trusted, with a difference in quality."""
    return rows[(rows["method"] != "none") & (rows["status"] != "disturbed")].dropna(subset=["delta_score"])


def _draw_cost(axis: Axes, line: pd.DataFrame, colour: str, marker: str) -> None:
    known = line[line["status"] != "disturbed"].dropna(subset=["delta_score"])
    if known.empty:
        return
    if (line["method"] == "none").any():
        axis.plot([1, known["speedup_unmerged"].iloc[0]], [0, known["delta_score"].iloc[0]], color=colour)
    axis.errorbar(
        known["speedup_unmerged"],
        known["delta_score"],
        yerr=_bars(known, "delta_score"),
        color=colour,
        marker=marker,
        capsize=1.5,
        elinewidth=0.8,
    )


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]).clip(min=0)
