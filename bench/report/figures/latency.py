"""Percentiles of the time per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.drawing.layout import device_line, fix_layout, footnote
from bench.report.drawing.style import COLOURS, DOUBLE, GREY
from bench.report.figures.rows import row_axes
from bench.report.panels import PANEL
from bench.report.words import batch_words, listed, software_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKS: dict[str, dict[str, Any]] = {
    "latency": {"marker": "o", "label": "median"},
    "p90": {"marker": "s", "markerfacecolor": "white", "label": "90th percentile"},
    "p99": {"marker": "|", "markersize": 9, "markeredgewidth": 1.4, "label": "99th percentile"},
}
_ALONE = "a median alone has fewer than ten samples"


def latency_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw median, 90th and 99th percentile of every configuration's time per batch, with a panel per batch size.

    The median is that of the tables, free of the machine's drift from cell to cell; percentiles keep the ratio to it
    that they have in the cell's own samples. With fewer than ten samples, only the median is drawn; panels without any
    percentile are left out, and the footnote says so. `width`: inches. Raises ValueError where no cell has ten samples.
    """
    rows = joined[joined["latency"].notna()].copy()
    for name in ("p90", "p99"):
        over = pd.to_numeric(rows[f"latency_{name}_ms"]) / pd.to_numeric(rows["latency_ms"])
        rows[name] = rows["latency"] * over
    few = rows["p90"].isna()
    if few.all():
        raise ValueError("no configuration has ten samples, which a 90th percentile needs")
    told = few.groupby([rows[name] for name in PANEL], dropna=False).transform("all")
    out, rows = rows[told], rows[~told]
    notes = [_ALONE] if rows["p90"].isna().any() else []
    notes += [f"left out, as none has ten samples: {_sizes(out)}"] if len(out) else []
    figure, placed = row_axes(rows, width=width)
    known = [name for name in _MARKS if rows[name].notna().any()]
    for axis, panel in placed:
        far = panel[known].max(axis=1)
        axis.hlines(panel["place"], panel["latency"], far, color=GREY, linewidth=0.8, zorder=1)
        for name in known:
            colour = COLOURS[1] if name == "p99" else COLOURS[0]
            axis.plot(panel[name], panel["place"], linestyle="none", color=colour, zorder=3, **_MARKS[name])
        axis.set_xlim(left=0)
        axis.set_xlabel("Time per batch (ms)")
    handles, labels = placed[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), handletextpad=0.3, columnspacing=1.2)
    samples = " to ".join(dict.fromkeys(f"{end:.0f}" for end in pd.to_numeric(rows["samples"]).agg(["min", "max"])))
    footnote(figure, device_line(rows), f"{software_line(rows)}; {samples} samples per configuration", "; ".join(notes))
    fix_layout(figure)
    return figure


def _sizes(rows: pd.DataFrame) -> str:
    """Return the batch sizes of rows in words."""
    return listed([batch_words(size) for size in sorted(rows["batch_size"].unique())])
