"""Figures of a study: mAP against speed, ablations, contrasts and the claim."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.layout import footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.frame import CLAIM, CONTRAST
from bench.study.groups import GROUPS, groups, held_against, merges_nothing, schedule_words
from bench.study.words import chance_words, mean_words, points_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def speed_figure(rows: pd.DataFrame, reference: str, notes: str, speeds: str = "") -> Figure:
    """Draw mAP against speed-up with a line per arm: the mean over seeds, and bars from the lowest to the highest seed.

    notes: what mAP was measured on. speeds: what the speed-ups were measured on. The dashed line is the unmerged
    reference. Raises ValueError if no merged row has a speed.
    """
    import matplotlib.pyplot as plt

    main = rows[rows["group"] == "main"].dropna(subset=["speedup"])
    if main[main["speedup"] != 1.0].empty:
        raise ValueError("no merged row has a speed; run the sweep that the study names as `speed`, and publish it")
    figure, axis = plt.subplots(figsize=(DOUBLE, 3.4))
    styles = colour_of(list(dict.fromkeys(main["label"])))
    for label, part in main.groupby("label", sort=False):
        part = part.sort_values("speedup")
        colour, marker = styles[str(label)]
        bars = np.abs(part[["mAP_low", "mAP_high"]].to_numpy().T - part["mAP"].to_numpy())
        axis.errorbar(
            *(part["speedup"], part["mAP"]),
            yerr=bars,
            color=colour,
            marker=marker,
            capsize=2,
            elinewidth=0.7,
            label=label,
        )
    base = main[(main["arm"] == reference) & main["schedule"].map(merges_nothing)]
    if len(base):
        axis.axhline(base["mAP"].iloc[0], color=GREY, linestyle="--", linewidth=0.8, zorder=GUIDE)
    merged = main[~main["schedule"].map(merges_nothing)].drop_duplicates("schedule").sort_values("speedup")
    top = axis.secondary_xaxis("top")
    top.set_xticks(merged["speedup"], [schedule_words(name).removeprefix("r = ") for name in merged["schedule"]])
    top.set_xlabel("Tokens merged per block, r")
    axis.set_xlabel("Throughput relative to the unmerged model")
    axis.set_ylabel("mAP (macro)")
    figure.legend(loc="outside upper left", ncols=2)
    dashed = f"Dashed: {base['label'].iloc[0]}, no merging. " if len(base) else ""
    footnote(figure, f"{notes}. {points_words(main['seeds'].max())}. {dashed}{speeds}")
    return figure


def ablation_figure(rows: pd.DataFrame, notes: str) -> Figure:
    """Draw every ablation as one panel: mAP of each of its arms, mean over seeds, with the interval of its difference.

    An ablation whose arms are compared with different ones has a panel for each of these, named in its title. Hollow
    points are the mean of what an arm is compared with. Raises ValueError if there are no ablations.
    """
    import matplotlib.pyplot as plt

    ablations = rows[~rows["group"].isin(GROUPS)]
    asked = [(title, part) for title, whole in groups(ablations) for _, part in whole.groupby("against", sort=False)]
    if not asked:
        raise ValueError("no ablation is published yet")
    names = [[f"{row.label}, {schedule_words(row.schedule)}" for row in part.itertuples()] for _, part in asked]
    widest = max(len(name) for some in names for name in some)
    letters = max(
        20, int((DOUBLE - 0.4 - 0.052 * widest) / 0.062)
    )  # inches that a letter of DejaVu takes at 7 and 8 pt
    titles = [textwrap.fill(f"{title}. {held_against(part)}", letters) for title, part in asked]
    heights = [
        0.35 + 0.2 * len(part) + 0.14 * title.count("\n") for title, (_, part) in zip(titles, asked, strict=True)
    ]
    figure, axes = plt.subplots(
        len(asked), 1, figsize=(DOUBLE, 0.7 + sum(heights)), squeeze=False, height_ratios=heights, sharex=True
    )
    for axis, title, named, (_, part) in zip(axes[:, 0], titles, names, asked, strict=True):
        places = np.arange(len(part))[::-1]
        bars = np.abs(part[["delta_low", "delta_high"]].to_numpy().T - part["delta"].to_numpy())
        axis.errorbar(part["mAP"], places, xerr=bars, color="black", linestyle="none", marker="o", capsize=2)
        axis.plot(part["against_mAP"], places, color=GREY, linestyle="none", marker="o", fillstyle="none", zorder=0)
        axis.set_yticks(places, named)
        axis.set_ylim(-0.6, len(part) - 0.4)
        axis.set_title(title, loc="left")
    axes[-1, 0].set_xlabel("mAP (macro)")
    hollow = "mean over its seeds" if ablations["against_seeds"].max() > 1 else "of one seed"
    footnote(
        figure,
        f"{notes}. {mean_words(ablations['seeds'].max())}. Hollow: what the arm is held against, {hollow}. "
        f"Bars: 95 % interval of the difference to it, over {chance_words(ablations)}; "
        "where one reaches the hollow point, the two cannot be told apart.",
    )
    return figure


def contrast_figure(rows: pd.DataFrame, notes: str) -> Figure:
    """Draw what each part adds to mAP under every schedule, with its 95 % interval.

    Raises ValueError if the study has no published contrast.
    """
    import matplotlib.pyplot as plt

    pairs = rows[rows["group"] == CONTRAST]
    if pairs.empty:
        raise ValueError("no contrast is published yet, or the study file has none")
    schedules = [name for name in dict.fromkeys(rows["schedule"]) if (pairs["schedule"] == name).any()]
    styles = colour_of(list(dict.fromkeys(pairs["label"])))
    figure, axis = plt.subplots(figsize=(DOUBLE, 3.4))
    for place, (label, part) in enumerate(pairs.groupby("label", sort=False)):
        shift = 0.12 * (place - (len(styles) - 1) / 2)
        colour, marker = styles[str(label)]
        axis.errorbar(
            [schedules.index(name) + shift for name in part["schedule"]],
            part["delta"],
            yerr=np.abs(part[["delta_low", "delta_high"]].to_numpy().T - part["delta"].to_numpy()),
            color=colour,
            marker=marker,
            linestyle="none",
            capsize=2,
            elinewidth=0.7,
            label=f"{label} (against: {part['against'].iloc[0]})",
        )
    axis.axhline(0, color=GREY, linewidth=0.8, zorder=GUIDE)
    axis.set_xticks(range(len(schedules)), [schedule_words(name) for name in schedules])
    axis.set_xlim(-0.5, len(schedules) - 0.5)
    axis.set_xlabel("Tested with")
    axis.set_ylabel("Difference in mAP")
    figure.legend(loc="outside upper left")
    footnote(figure, f"{notes}; both under the same schedule. Bars: 95 % interval over {chance_words(pairs)}.")
    return figure


def claim_figure(rows: pd.DataFrame, notes: str, speeds: str = "") -> Figure:
    """Draw the difference of mAP to the model that the claim compares with, under every schedule, with its interval.

    Schedules are ordered from slow to fast, each with its speed-up over the unmerged model; arms are drawn side by
    side, as all have the speed of their schedule. speeds: what it was measured on. Raises ValueError if the study has
    no published claim, or no speed for it.
    """
    import matplotlib.pyplot as plt

    held = rows[(rows["group"] == CLAIM) & ~rows["schedule"].map(merges_nothing)].dropna(subset=["speedup", "delta"])
    if held.empty:
        raise ValueError("no claim is published yet with its speeds, or the study file makes none")
    steps = held.drop_duplicates("schedule").sort_values("speedup")
    places = {name: place for place, name in enumerate(steps["schedule"])}
    styles = colour_of(list(dict.fromkeys(held["label"])))
    figure, axis = plt.subplots(figsize=(DOUBLE, 3.6))
    for arm, (label, part) in enumerate(held.groupby("label", sort=False)):
        part = part.sort_values("speedup")
        colour, marker = styles[str(label)]
        axis.errorbar(
            part["schedule"].map(places) + 0.12 * (arm - (len(styles) - 1) / 2),
            part["delta"],
            yerr=np.abs(part[["delta_low", "delta_high"]].to_numpy().T - part["delta"].to_numpy()),
            color=colour,
            marker=marker,
            linewidth=0.6,
            capsize=2,
            elinewidth=0.7,
            label=label,
        )
    axis.axhline(0, color=GREY, linestyle="--", linewidth=0.8, zorder=GUIDE)
    named = zip(steps["schedule"], steps["speedup"], strict=True)
    axis.set_xticks(range(len(steps)), [f"{schedule_words(name)}\n{speed:.2f} ×" for name, speed in named])
    axis.set_xlim(-0.5, len(steps) - 0.5)
    axis.set_xlabel("Tested with, and throughput relative to the unmerged model")
    axis.set_ylabel("Difference in mAP")
    figure.legend(loc="outside upper left", ncols=2)
    words = f"difference to “{held['against'].iloc[0]}”, {schedule_words(held['against_schedule'].iloc[0])}"
    footnote(figure, f"{notes}; {words}. Bars: 95 % interval over {chance_words(held)}. {speeds}")
    return figure
