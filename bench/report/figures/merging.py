"""What merging gains (speed-up against r, with its limits), and what it costs at that speed-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.layout import device_line, fix_layout, footnote, grid, legend
from bench.report.drawing.series import styles_of
from bench.report.drawing.style import DOUBLE, GREY, GUIDE
from bench.report.figures.apart import PointApart, draw_apart
from bench.report.figures.starts import removes_nothing, start_of
from bench.report.panels import PANEL
from bench.report.words import facts_line, is_denominator, score_word, series_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CROWD = 4
"""Least number of intervals at one r with a value in common that are drawn side by side, to stay distinguishable."""
_ASIDE = 0.018
"""Distance between them then, as a share of the largest r."""
_TICK = 0.24
"""Least distance between two numbers on the axis of r, inches."""


def merging_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw the gain of merging (speed-up against r) and its cost (change of the score against that speed-up).

    The gain has the speed-up of the slice oracle, which removes as many tokens for free, and the ratio of MACs beside
    it. A line starts at its series with nothing removed (for another stride, at the speed and loss of that stride
    alone), or at its first r where that was not measured. `width`: inches. Raises ValueError where no schedule has an
    r, or all have the same.
    """
    timed = joined["speedup_unmerged"].notna()
    rows = joined[joined["r"].notna() & timed].copy()
    if rows[rows["method"] != "none"].empty:
        raise ValueError("no merged configuration with an r was timed against the unmerged model")
    if rows["r"].nunique() < 2:
        raise ValueError("all configurations remove the same number of tokens")
    styles = styles_of(rows)
    compared = bool(_costs(rows)["delta_score"].notna().any())
    starts = joined[removes_nothing(joined)]
    crowded = False
    apart: dict[Axes, list[PointApart]] = {}
    figure, placed, left = grid(rows, heights=[2.4, 1.7] if compared else [2.4], width=width)
    for axes, panel in placed:
        names = panel.apply(series_name, axis=1)
        merged = panel[panel["method"] != "none"]
        beside = _beside(merged, names)
        crowded |= bool(beside)
        for name, (colour, marker) in styles.items():
            line = merged[names[merged.index] == name].sort_values("r")
            if line.empty:
                continue
            start = start_of(_like(starts, panel), line)
            _draw_gain(axes[0], line, start, colour, marker, beside.get(name, 0.0))
            apart.setdefault(axes[0], []).extend(_apart(line, colour))
            if compared:
                _draw_cost(axes[1], line, start, colour, marker)
        _mark_rs(axes[0], sorted({0.0, *merged["r"]}))
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
    """Return the shift in r of each series' marks, empty unless some would cover each other."""
    series = list(dict.fromkeys(names[merged.index]))
    drawn = merged[merged["status"] != "disturbed"]
    if not any(_most_at_once(at_one_r) >= _CROWD for _, at_one_r in drawn.groupby("r")):
        return {}
    step = _ASIDE * merged["r"].max()
    return {name: (place - (len(series) - 1) / 2) * step for place, name in enumerate(series)}


def _most_at_once(rows: pd.DataFrame) -> int:
    """Return the largest number of speed-up intervals with a value in common; one that is unknown is its point."""
    low, high = (rows[f"speedup_unmerged_{end}"].fillna(rows["speedup_unmerged"]).to_numpy() for end in ("low", "high"))
    return int(((low <= low[:, None]) & (low[:, None] <= high)).sum(1).max())


def _like(starts: pd.DataFrame, panel: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `starts` that belong to a panel."""
    shared = panel[PANEL].iloc[0]
    same = [(starts[name] == shared[name]) | (starts[name].isna() & pd.isna(shared[name])) for name in PANEL]
    return starts[np.logical_and.reduce(same)]


def _mark_rs(axis: Axes, rs: list[float]) -> None:
    """Put a tick at every r that was measured, with its number where there is room."""
    axis.set_xlim(*axis.get_xlim())
    figure = axis.get_figure(root=True)
    assert figure is not None
    columns = axis.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]
    inches = 0.9 * figure.get_figwidth() / columns
    least = _TICK * (axis.get_xlim()[1] - axis.get_xlim()[0]) / inches
    numbered = rs[:1]
    for r in rs[1:]:
        numbered += [r] if r - numbered[-1] >= least else []
    axis.set_xticks(numbered, [f"{r:.0f}" for r in numbered])
    axis.set_xticks([r for r in rs if r not in numbered], minor=True)


def _draw_gain(axis: Axes, line: pd.DataFrame, start: pd.Series | None, colour: str, marker: str, aside: float) -> None:
    merged = line[line["status"] != "disturbed"]
    sliced = merged.dropna(subset=["speedup_slice"])
    limit = sliced["speedup_unmerged"] / sliced["speedup_slice"]
    zero = [] if start is None else [0.0]
    for r, values, first, style, width in (
        (merged["r"] + aside, merged["speedup_unmerged"], "speedup_unmerged", "-", 1.0),
        (sliced["r"], limit, "speedup_unmerged", "--", 0.9),
        (line["r"], line["macs_ratio"], "macs_ratio", ":", 0.9),
    ):
        there = [] if start is None else [start[first]]
        axis.plot([*zero, *r], [*there, *values], color=colour, linestyle=style, linewidth=width)
    shown = _with_measured(start, merged.assign(r=merged["r"] + aside))
    axis.errorbar(
        shown["r"],
        shown["speedup_unmerged"],
        yerr=_bars(shown, "speedup_unmerged"),
        color=colour,
        marker=marker,
        linestyle="none",
        capsize=1.5,
        elinewidth=0.8,
    )


def _with_measured(start: pd.Series | None, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows preceded by their start, if that was measured and is not 1 by definition."""
    if start is None or is_denominator(start):
        return rows
    return pd.concat([start.to_frame().T.astype(rows.dtypes.to_dict()), rows])


def _apart(line: pd.DataFrame, colour: str) -> list[PointApart]:
    disturbed = line[line["status"] == "disturbed"]
    return [
        PointApart(x=r, y=value, colour=colour, words=(f"r = {r:.0f}", f"{value:.1f} times"))
        for r, value in zip(disturbed["r"], disturbed["speedup_unmerged"], strict=True)
    ]


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose cost is drawn: merged and undisturbed, with a difference in quality."""
    return rows[(rows["method"] != "none") & (rows["status"] != "disturbed")].dropna(subset=["delta_score"])


def _draw_cost(axis: Axes, line: pd.DataFrame, start: pd.Series | None, colour: str, marker: str) -> None:
    known = line[line["status"] != "disturbed"].dropna(subset=["delta_score"])
    if known.empty:
        return
    start = None if start is None or pd.isna(start["delta_score"]) else start
    if start is not None:
        x, y = ([start[name], known[name].iloc[0]] for name in ("speedup_unmerged", "delta_score"))
        axis.plot(x, y, color=colour)
    shown = _with_measured(start, known)
    axis.errorbar(
        shown["speedup_unmerged"],
        shown["delta_score"],
        yerr=_bars(shown, "delta_score"),
        color=colour,
        marker=marker,
        capsize=1.5,
        elinewidth=0.8,
    )


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]).clip(min=0)
