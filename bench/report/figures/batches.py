"""Throughput against the batch size, by schedule."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.labels import Label, about_labels, place_labels
from bench.report.drawing.layout import about_left_out, device_line, error_bars, fix_layout, footnote, legend
from bench.report.drawing.series import is_starred, star, style_of, styles_of, unmerged_keys
from bench.report.drawing.style import DOUBLE
from bench.report.panels import PANEL
from bench.report.words import BEST_BATCH, point_label, row_name, software_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DEVICE = [name for name in PANEL if name != "batch_size"]


def batches_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw clips per second against the clips in a batch, with a panel per device and a line per configuration.

    Bars are 95 % intervals, and labels are r. Batch sizes that cells searched for themselves are left out. `width`:
    inches. Raises ValueError where no device was timed at two batch sizes.
    """
    import matplotlib.pyplot as plt

    asked = joined[joined["throughput"].notna() & (joined["batch_size"] < BEST_BATCH)]
    timed = asked[asked["status"] != "disturbed"]
    groups = [group for _, group in timed.groupby(_DEVICE, dropna=False) if group["batch_size"].nunique() > 1]
    if not groups:
        raise ValueError("no configuration was timed at several batch sizes")
    shown = pd.concat(groups)
    styles = styles_of(shown)
    columns = min(len(groups), 2 if width == DOUBLE else 1)
    rows = -(-len(groups) // columns)
    size = (width, 0.8 + 2.5 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    placed = []
    for axis, group in zip(axes.flat, groups, strict=False):
        if len(groups) > 1:
            letters = int((width - 0.65) / columns / 0.0085 / 8)
            axis.set_title(textwrap.fill(device_line(group), letters), loc="left", size=8)
        lines = [line.sort_values("batch_size") for _, line in group.groupby(group.apply(row_name, axis=1), sort=False)]
        for line in lines:
            colour, marker = style_of(line.iloc[0], styles)
            ends = error_bars(line, "throughput")
            axis.errorbar(
                *(line["batch_size"], line["throughput"]),
                yerr=np.nan_to_num(ends),
                color=colour,
                marker=marker,
                markersize=8 if marker == "*" else 6 if is_starred(line.iloc[0]) else 4.5,
                markerfacecolor=colour if marker == "*" else "none",  # hollow, so that it hides nothing
                capsize=1.5,
                elinewidth=0.8,
            )
            if is_starred(line.iloc[0]):
                star(axis, line["batch_size"], line["throughput"])
        batches = sorted(group["batch_size"].unique())
        axis.set_xscale("log", base=2)
        axis.set_xticks(batches, [f"{batch:.0f}" for batch in batches])
        axis.set_xticks([], minor=True)
        axis.set_xlim(batches[0] / 1.3, batches[-1] * 1.5)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("Clips in a batch")
        placed.append((axis, lines))
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("Throughput (clips/s)")
    legend(figure, styles, unmerged_keys(shown), hollow=True)
    about = f"{software_line(shown)}; intervals are 95 % bootstrap"
    named = about_labels((len(lines) for _, lines in placed), "none of their lines")
    footnote(figure, device_line(shown), about, named, about_left_out(asked))
    fix_layout(figure)
    for axis, lines in placed:
        _label_ends(axis, lines, styles)
    return figure


def _label_ends(axis: Axes, lines: list[pd.DataFrame], styles: dict[str, tuple[str, str]]) -> None:
    """Write r beside the last point of every line."""
    labels = []
    for place, line in enumerate(lines):
        last = line.iloc[-1]
        text = point_label(last)
        colour = style_of(last, styles)[0]
        labels.append(
            Label(x=last["batch_size"], y=last["throughput"], text=text, colour=colour, above=True, line=place)
        )
    paths = [line[["batch_size", "throughput"]].to_numpy(dtype=float) for line in lines]
    ends = [line.iloc[-1] for line in lines]
    bars = [
        [(end["batch_size"], end["throughput_low"]), (end["batch_size"], end["throughput_high"])]
        for end in ends
        if pd.notna(end["throughput_low"])
    ]
    place_labels(axis, labels, lines=paths, bars=bars)
