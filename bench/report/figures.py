"""The figures: quality against throughput with its Pareto front, and what merging gains and costs against r."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.frame import panels
from bench.report.style import DOUBLE, GREY, colour_of
from bench.report.words import facts_line, series_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pareto_figure(joined: pd.DataFrame) -> Figure:
    """Draw mAP against throughput: one row of panels a device, one column a batch size.

    Points on the front are filled and joined by steps, dominated ones hollow. Raises ValueError where nothing has
    both speed and quality.
    """
    whole = joined.dropna(subset=["throughput", "mAP"]).copy()
    if whole.empty:
        raise ValueError(
            "report: no configuration has both a speed and a quality record; run the sweep with both kinds"
        )
    figure, axes, names = _grid(whole, height=2.7)
    for axis, (_, panel) in zip(axes.flat, panels(whole), strict=False):
        _draw_points(axis, panel, names)
        _draw_front(axis, panel)
        axis.set_xlabel("Throughput (clips/s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("mAP (macro)")
    _legend(figure, names, extra=["front", "dominated"])
    _finish(figure, whole)
    return figure


def merging_figure(joined: pd.DataFrame) -> Figure:
    """Draw what merging gains, speed-up against r, and what it costs, mAP against that speed-up.

    With the speed-up of the slice oracle, which removes as many tokens for free, and the bound by MACs. Raises
    ValueError where no schedule has an r.
    """
    rows = joined[joined["r"].notna() & joined["speedup_unmerged"].notna()].copy()
    if rows[rows["method"] != "none"].empty:
        raise ValueError("report: no merged configuration with an r was timed against the unmerged model")
    names = colour_of(_series(rows))
    groups = panels(rows)
    import matplotlib.pyplot as plt

    columns = max(1, rows["batch_size"].nunique())
    bands = -(-len(groups) // columns)  # of two rows each: gain above cost
    figure, axes = plt.subplots(
        2 * bands, columns, figsize=(DOUBLE, 0.5 + 4.5 * bands), squeeze=False, height_ratios=(3, 2) * bands
    )
    for number, (_, panel) in enumerate(groups):
        band, column = divmod(number, columns)
        gain, cost = axes[2 * band : 2 * band + 2, column]
        gain.set_title(_title(panel), loc="left")
        for name, (colour, marker) in names.items():
            line = panel[panel["series"].isin((name, "unmerged"))].sort_values("r")
            _draw_gain(gain, line, colour, marker)
            _draw_cost(cost, line, colour, marker)
        gain.axhline(1, color=GREY, linewidth=0.6)
        cost.axhline(0, color=GREY, linewidth=0.6)
        gain.set_xlabel("Tokens removed per block, mean (r)")
        cost.set_xlabel("Speed-up over unmerged")
        if column == 0:
            gain.set_ylabel("Speed-up over unmerged")
            cost.set_ylabel("mAP minus unmerged")
    for axis in axes[:, len(groups) % columns :][-2:].flat if len(groups) % columns else ():
        axis.set_visible(False)
    _legend(figure, names, extra=["measured", "slice oracle", "MAC bound"])
    _finish(figure, rows)
    return figure


def _series(rows: pd.DataFrame) -> list[str]:
    rows["series"] = rows.apply(series_name, axis=1)
    return [name for name in dict.fromkeys(rows["series"]) if name != "unmerged"]


def _grid(whole: pd.DataFrame, height: float) -> tuple[Figure, np.ndarray, dict[str, tuple[str, str]]]:
    import matplotlib.pyplot as plt

    names = colour_of(_series(whole))
    groups = panels(whole)
    columns = max(1, whole["batch_size"].nunique())
    rows = -(-len(groups) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(DOUBLE, 0.5 + height * rows), squeeze=False, sharey=True)
    for axis, (_, panel) in zip(axes.flat, groups, strict=False):
        axis.set_title(_title(panel), loc="left")
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    return figure, axes, names


def _title(panel: pd.DataFrame) -> str:
    first = panel.iloc[0]
    name = first["device_name"] + (f", {first['threads']} threads" if first["device"] == "cpu" else "")
    kernel = "" if first["attention"] == "auto" else f", {first['attention']}"
    return f"{name}, batch {first['batch_size']:.0f}, {first['dtype']}{kernel}"


def _draw_points(axis: Axes, panel: pd.DataFrame, names: dict[str, tuple[str, str]]) -> None:
    for _, row in panel.iterrows():
        colour, marker = names.get(row["series"], ("black", "*"))
        on_front = row["standing"] == "front"
        axis.errorbar(
            row["throughput"],
            row["mAP"],
            xerr=_bar(row, "throughput"),
            yerr=_bar(row, "mAP"),
            fmt="none",
            ecolor=colour,
            elinewidth=0.6,
            alpha=0.35,
            zorder=2,
        )
        axis.plot(
            *(row["throughput"], row["mAP"], marker),
            color=colour,
            markerfacecolor=colour if on_front else "white",
            markersize=8 if marker == "*" else 4.5,
            zorder=4,
        )
    _label_points(axis, panel, names)


def _label_points(axis: Axes, panel: pd.DataFrame, names: dict[str, tuple[str, str]]) -> None:
    """Write r beside every point: above for the first schedule, below for the second, further off in a crowd."""
    order = list(names)
    points_a_clip = 180 / max(np.ptp(panel["throughput"]), 1e-9)  # of a panel that is about 3 inches wide
    crowd: dict[bool, list[float]] = {True: [], False: []}
    for _, row in panel.sort_values("throughput").iterrows():
        if pd.isna(row["r"]):
            continue
        below = row["series"] in order and order.index(row["series"]) % 2 == 1
        near = sum(abs(row["throughput"] - other) * points_a_clip < 9 for other in crowd[below])
        crowd[below].append(row["throughput"])
        unmerged = row["method"] == "none"
        axis.annotate(
            "r=0" if unmerged else f"{row['r']:.0f}",
            (row["throughput"], row["mAP"]),
            xytext=(0, (-1 if below else 1) * (6 + 7 * near)),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontsize=6,
            color=names.get(row["series"], ("black", ""))[0],
            zorder=5,
        )


def _draw_front(axis: Axes, panel: pd.DataFrame) -> None:
    front = panel[panel["standing"] == "front"].sort_values("throughput")
    axis.step(front["throughput"], front["mAP"], where="pre", color=GREY, linewidth=0.9, zorder=1)


def _draw_gain(axis: Axes, line: pd.DataFrame, colour: str, marker: str) -> None:
    merged = line[line["method"] != "none"]
    axis.errorbar(
        merged["r"],
        merged["speedup_unmerged"],
        yerr=_bars(merged, "speedup_unmerged"),
        color=colour,
        marker=marker,
        capsize=1.5,
    )
    axis.plot(line["r"], line["macs_ratio"], color=colour, linestyle=":", linewidth=0.9)
    sliced = line.dropna(subset=["speedup_slice"])
    axis.plot(
        sliced["r"], sliced["speedup_unmerged"] / sliced["speedup_slice"], color=colour, linestyle="--", linewidth=0.9
    )


def _draw_cost(axis: Axes, line: pd.DataFrame, colour: str, marker: str) -> None:
    known = line.dropna(subset=["delta_mAP"])
    if len(known):
        axis.errorbar(
            known["speedup_unmerged"],
            known["delta_mAP"],
            yerr=_bars(known, "delta_mAP"),
            color=colour,
            marker=marker,
            capsize=1.5,
        )


def _bar(row: pd.Series, name: str) -> list[list[float]]:
    return [[max(0.0, row[name] - row[f"{name}_low"])], [max(0.0, row[f"{name}_high"] - row[name])]]


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    return np.stack([rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]).clip(min=0)


def _legend(figure: Figure, names: dict[str, tuple[str, str]], *, extra: list[str]) -> None:
    from matplotlib.lines import Line2D

    styles: dict[str, dict[str, Any]] = {
        "front": {"color": GREY, "marker": "o", "markerfacecolor": GREY, "label": "on the Pareto front"},
        "dominated": {
            "color": GREY,
            "marker": "o",
            "markerfacecolor": "white",
            "linestyle": "none",
            "label": "dominated",
        },
        "measured": {"color": GREY, "label": "measured, 95 % interval"},
        "slice oracle": {"color": GREY, "linestyle": "--", "label": "slice oracle (tokens removed for free)"},
        "MAC bound": {"color": GREY, "linestyle": ":", "label": "bound by MACs"},
    }
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=name)
        for name, (colour, marker) in names.items()
    ]
    if "front" in extra:
        handles.append(Line2D([], [], color="black", marker="*", markersize=8, linestyle="none", label="unmerged"))
    handles += [Line2D([], [], linewidth=0.9, **styles[name]) for name in extra]
    columns = len(handles) if len(handles) < 6 and "measured" not in extra else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handletextpad=0.4)


def _finish(figure: Figure, rows: pd.DataFrame) -> None:
    figure.supxlabel(facts_line(rows), fontsize=6, color=GREY)
