"""The claim: how far faster arms are from the mAP of the model that they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.report.drawing.layout import error_bars, footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.frame import CLAIM
from bench.study.groups import merges_nothing, schedule_words
from bench.study.words import chance_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
            yerr=error_bars(part, "delta"),
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
