"""Contrasts: what each part adds to mAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.report.drawing.layout import error_bars, footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.frame import CONTRAST
from bench.study.groups import schedule_words
from bench.study.words import chance_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
            yerr=error_bars(part, "delta"),
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
