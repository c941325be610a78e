"""The figures: quality against throughput with its Pareto front, and what merging gains and costs against r."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.records.export import STRIDE
from bench.report.labels import Label, place_labels
from bench.report.layout import APART, Styles, device_line, fix_layout, footnote, grid, legend, style_of, styles_of
from bench.report.style import GREY
from bench.report.words import facts_line, interval, is_denominator, is_unmerged, score_word, series_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pareto_figure(joined: pd.DataFrame) -> Figure:
    """Draw mAP or accuracy against throughput: one row of panels per device, one column per batch size.

    Points on the front are filled and joined by steps, dominated ones hollow; disturbed ones are crosses. Bars are 95 %
    intervals, of the score those in which a panel's models are compared. Raises ValueError where nothing has both speed
    and quality.
    """
    whole = joined.dropna(subset=["throughput", "score"]).copy()
    apart = ["disturbed"] if (whole["status"] == "disturbed").any() else []
    if whole.empty:
        raise ValueError(
            "report: no configuration has both a speed and a quality record; run the sweep with both kinds"
        )
    styles = styles_of(whole)
    figure, placed, left = grid(whole, heights=[2.5])
    for (axis,), panel in placed:
        _draw_points(axis, panel, styles)
        _draw_front(axis, panel)
        axis.set_xlabel("Throughput (clips/s)")
        axis.margins(x=0.09, y=0.09)
    for axis in left:
        axis.set_ylabel("mAP (macro)" if score_word(whole) == "mAP" else f"Top-1 {score_word(whole)}")
    star = ["unmerged"] if (whole["method"] == "none").any() else []
    legend(figure, styles, [*star, "front", "dominated", *apart])
    footnote(figure, device_line(whole), facts_line(whole), _about_bars(whole))
    fix_layout(figure)  # labels need to know where things are
    for (axis,), panel in placed:
        _label_points(axis, panel, styles)
    return figure


def merging_figure(joined: pd.DataFrame) -> Figure:
    """Draw what merging gains, speed-up against r, and what it costs, the score against that speed-up.

    With the speed-up of the slice oracle, which removes as many tokens for free, and the ratio of MACs. Raises
    ValueError where no schedule has an r.
    """
    rows = joined[joined["r"].notna() & joined["speedup_unmerged"].notna()].copy()
    if rows[rows["method"] != "none"].empty:
        raise ValueError("report: no merged configuration with an r was timed against the unmerged model")
    styles = styles_of(rows)
    compared = bool(rows["delta_score"].notna().any())
    figure, placed, left = grid(rows, heights=[2.4, 1.7] if compared else [2.4])
    for axes, panel in placed:
        names, unmerged = panel.apply(series_name, axis=1), panel.apply(is_unmerged, axis=1).astype(bool)
        for name, (colour, marker) in styles.items():
            own = panel["setup"].isin(panel.loc[names == name, "setup"])  # the unmerged model of the same engine
            line = panel[(names == name) | (unmerged & own)].sort_values("r")
            if (names == name).any():
                _draw_gain(axes[0], line, colour, marker)
            if compared:
                _draw_cost(axes[1], line, colour, marker)
        axes[0].axhline(1, color=GREY, linewidth=0.6, zorder=0)
        narrow = axes[0].get_subplotspec().get_gridspec().ncols > 2  # type: ignore[union-attr]
        axes[0].set_xlabel("Mean r" if narrow else "Tokens removed per block, mean (r)")
        if compared:
            axes[1].axhline(0, color=GREY, linewidth=0.6, zorder=0)
            axes[1].set_xlabel("Speed-up over unmerged")
    for i, axis in enumerate(left):
        axis.set_ylabel(f"{score_word(rows)} minus unmerged" if compared and i % 2 else "Speed-up over unmerged")
    oracle = ["oracle"] if rows["speedup_slice"].notna().any() else []
    apart = ["disturbed"] if (rows["status"] == "disturbed").any() else []
    legend(figure, styles, ["measured", *oracle, "macs", *apart])
    footnote(figure, device_line(rows), facts_line(rows))
    fix_layout(figure)
    return figure


def _draw_points(axis: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    for _, row in panel.iterrows():
        colour, marker = style_of(row, styles)
        if row["status"] == "disturbed":
            axis.plot(row["throughput"], row["score"], **APART, markeredgecolor=colour, zorder=3)
            continue
        axis.errorbar(
            row["throughput"],
            row["score"],
            xerr=_bar(row, "throughput", "throughput"),
            yerr=_bar(row, "score", "compared"),
            fmt="none",
            ecolor=colour,
            elinewidth=0.7,
            alpha=0.4,
            zorder=2,
        )
        axis.plot(
            *(row["throughput"], row["score"], marker),
            color=colour,
            markerfacecolor=colour if row["standing"] == "front" else "white",
            markersize=8 if marker == "*" else 4.5,
            zorder=4,
        )


def _draw_front(axis: Axes, panel: pd.DataFrame) -> None:
    front = panel[panel["standing"] == "front"].sort_values("throughput")
    axis.step(front["throughput"], front["score"], where="pre", color=GREY, linewidth=0.9, zorder=1)


def _label_points(axis: Axes, panel: pd.DataFrame, styles: Styles) -> None:
    """Write r beside every point, above for the first schedule and below for the second, where there is room."""
    known = panel[panel["r"].notna() | (panel["method"] == STRIDE)]
    labels = []
    for _, row in known.iterrows():
        colour = style_of(row, styles)[0]
        text = "r=0" if row["method"] == "none" else str(row["schedule"]) if pd.isna(row["r"]) else f"{row['r']:.0f}"
        above = list(styles).index(series_name(row)) % 2 == 0 if series_name(row) in styles else True
        labels.append(Label(x=row["throughput"], y=row["score"], text=text, colour=colour, above=above))
    front = panel[panel["standing"] == "front"].sort_values("throughput")
    x, y = np.repeat(front["throughput"].to_numpy(), 2)[:-1], np.repeat(front["score"].to_numpy(), 2)[1:]
    bars = [
        bar
        for row in panel.itertuples()
        for bar in (
            [(row.throughput_low, row.score), (row.throughput_high, row.score)],
            [(row.throughput, row.compared_low), (row.throughput, row.compared_high)],
        )
        if row.status != "disturbed" and np.isfinite(bar).all()
    ]
    place_labels(axis, labels, lines=[np.stack([x, y], axis=1)], bars=bars)


def _about_bars(whole: pd.DataFrame) -> str:
    """Return what the bars of the score are, and how sure the unmerged model's own is, which they leave out."""
    word = score_word(whole)
    if not whole["paired"].all():
        some = f"bars of {word}: paired where all rows of a panel have a difference"
        return some if whole["paired"].any() else ""
    own = whole[whole["method"] == "none"].drop_duplicates(["score", "score_low", "score_high"])
    told = " and ".join(interval(row, "score", "{:.3f}") for _, row in own.iterrows())
    about = f"bars of {word}: paired difference to the unmerged model on the same clips"
    return f"{about}; its own {word} is {told}" if told else about


def _draw_gain(axis: Axes, line: pd.DataFrame, colour: str, marker: str) -> None:
    everything = line[line["method"] != "none"]
    unmerged = line[line["method"] == "none"]
    merged, apart = (everything[(everything["status"] == "disturbed") == is_so] for is_so in (False, True))
    axis.plot(apart["r"], apart["speedup_unmerged"], **APART, markeredgecolor=colour)
    start = [0.0] if len(unmerged) else []
    # r = 0 is the unmerged model itself, except where that is measured on another engine.
    there = [1.0 if is_denominator(row) else row["speedup_unmerged"] for _, row in unmerged.iloc[:1].iterrows()]
    sliced = merged.dropna(subset=["speedup_slice"])
    limit = sliced["speedup_unmerged"] / sliced["speedup_slice"]
    for r, values, first, style, width in (
        (merged["r"], merged["speedup_unmerged"], there, "-", 1.0),
        (sliced["r"], limit, there, "--", 0.9),
        (everything["r"], everything["macs_ratio"], [1.0] * len(start), ":", 0.9),
    ):
        axis.plot([*start, *r], [*first, *values], color=colour, linestyle=style, linewidth=width)
    axis.errorbar(
        merged["r"],
        merged["speedup_unmerged"],
        yerr=_bars(merged, "speedup_unmerged"),
        color=colour,
        marker=marker,
        linestyle="none",
        capsize=1.5,
        elinewidth=0.8,
    )


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


def _bar(row: pd.Series, name: str, ends: str) -> list[list[float]]:
    return [[max(0.0, row[name] - row[f"{ends}_low"])], [max(0.0, row[f"{ends}_high"] - row[name])]]


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]).clip(min=0)
