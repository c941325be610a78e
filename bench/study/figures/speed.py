"""mAP against speed: every main arm under every schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.report.drawing.layout import error_bars, footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.groups import merges_nothing, schedule_words
from bench.study.words import points_words

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
        bars = error_bars(part, "mAP")
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
