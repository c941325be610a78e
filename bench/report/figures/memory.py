"""Memory before and during a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from bench.report.drawing.layout import device_line, fix_layout, footnote
from bench.report.drawing.style import COLOURS, DOUBLE, GREY
from bench.report.figures.rows import row_axes
from bench.report.words import software_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MIB = 2.0**20
_BEFORE = "#d9d9d9"
_WITH_ARENA = "with a runtime's arena, not comparable"
_ARENAS = ("onnxruntime", "openvino")
"""Engines that allocate their memory once, before any run that is measured, and keep it."""


def memory_figure(joined: pd.DataFrame, *, width: float = DOUBLE) -> Figure:
    """Draw, for every configuration, the memory held before a run and the most that the run takes on top, in MiB.

    A runtime with an arena allocates it in its first run and keeps it: what a run takes is unknown, and no number
    claims that it is zero. `width`: inches. Raises ValueError where no memory was recorded.
    """
    rows = joined.copy()
    rows["peak"] = pd.to_numeric(rows["peak_memory_bytes"]) / _MIB
    rows["run"] = pd.to_numeric(rows["forward_memory_bytes"]) / _MIB
    rows = rows[rows["peak"].notna() & rows["run"].notna()]
    if rows.empty:
        raise ValueError("no record says how much memory a run takes")
    arena = rows["engine"].isin(_ARENAS)
    resident = rows["memory_kind"].astype(str).str.startswith("resident").any()
    held = f"held before ({', '.join(['weights'] + ['libraries', 'other arms'] * bool(resident))})"
    rows.loc[arena, "run"] = 0.0
    figure, placed = row_axes(rows, width=width)
    for axis, panel in placed:
        before = panel["peak"] - panel["run"]
        in_arena = panel["engine"].isin(_ARENAS)
        for there, words, hatch in ((~in_arena, held, None), (in_arena, _WITH_ARENA, "////")):
            if there.any():
                place, value = panel["place"][there], before[there]
                axis.barh(place, value, height=0.6, color=_BEFORE, edgecolor="white", hatch=hatch, label=words)
        axis.barh(panel["place"], panel["run"], left=before, height=0.6, color=COLOURS[0], label="one run, on top")
        for _, row in panel.iterrows():
            text = axis.annotate(
                _number(row),
                (row["peak"], row["place"]),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color=GREY,
            )
            text.set_in_layout(False)
        axis.set_xlim(0, (1.25 if arena.any() else 1.08) * rows["peak"].max())
        axis.set_xlabel("Memory (MiB)")
    told = {
        label: handle for axis, _ in placed for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    columns = len(told) if width == DOUBLE else 1
    figure.legend(
        *(told.values(), told), loc="outside upper center", ncols=columns, handletextpad=0.4, columnspacing=1.2
    )
    kinds = ", ".join(sorted(rows["memory_kind"].dropna().astype(str).unique()))
    notes = ["numbers: MiB of one run, on top of what was held before"]
    notes += ["in the arena: taken before the run, and not known apart"] * bool(arena.any())
    notes += ["what is held before depends on what else a cell timed: compare what runs take"] * bool(resident)
    footnote(figure, device_line(rows), f"{software_line(rows)}; {kinds}", "; ".join(notes))
    fix_layout(figure)
    return figure


def _number(row: pd.Series) -> str:
    if row["engine"] in _ARENAS:
        return "in the arena"
    return f"{row['run']:.0f}" if row["run"] >= 0.5 else "< 1"
