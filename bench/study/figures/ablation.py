"""Ablations: the mAP of each arm beside that of what it is compared with."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.layout import error_bars, footnote
from bench.report.drawing.style import DOUBLE, GREY
from bench.study.groups import GROUPS, groups, held_against, schedule_words
from bench.study.words import chance_words, mean_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        bars = error_bars(part, "delta")
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
