"""Figures of a sweep's report, each a function of the joined records in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bench.report.figures.batches import batches_figure
from bench.report.figures.latency import latency_figure
from bench.report.figures.memory import memory_figure
from bench.report.figures.merging import merging_figure
from bench.report.figures.pareto import pareto_figure
from bench.report.figures.schedules import schedules_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "ReportFigure", "merging_figure", "pareto_figure"]


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A figure and the caption below it."""

    draw: Callable[..., Figure]
    """Draws joined records with a `width` in inches; raises ValueError where they cannot be drawn."""
    caption: str


FIGURES = {
    "pareto": ReportFigure(
        draw=pareto_figure,
        caption="Quality against throughput. Filled points are on the Pareto front, hollow ones are dominated; labels "
        "are the tokens removed per block.",
    ),
    "merging": ReportFigure(
        draw=merging_figure,
        caption="Gain and cost of merging against the tokens removed per block. The slice oracle, where timed, drops "
        "as many tokens for free: the limit of any method. The ratio of MACs is what arithmetic alone would give.",
    ),
    "schedules": ReportFigure(
        draw=schedules_figure,
        caption="How many tokens leave each block, and what becomes of speed and quality. Labels are the tokens "
        "removed per block, on average.",
    ),
    "batches": ReportFigure(
        draw=batches_figure,
        caption="Throughput against the clips in a batch, by schedule. Labels are the tokens removed per block.",
    ),
    "latency": ReportFigure(
        draw=latency_figure,
        caption="Percentiles of the time that a batch takes. The 90th percentile needs ten samples, the 99th a "
        "hundred. Where there are fewer than ten, there is the median alone.",
    ),
    "memory": ReportFigure(
        draw=memory_figure,
        caption="Memory: what is held before a run, and the most that one run takes on top. What is held before "
        "depends on what else a cell timed, on a CPU, and holds the arena of a runtime that has one; only what a run "
        "takes on top can be compared.",
    ),
}
"""Figures of a report by the names of their files, without suffix."""


def draws(joined: pd.DataFrame, width: float) -> dict[str, Callable[[], Figure]]:
    """Return a function for every figure that draws it from the joined records, by name."""

    def drawing(one: ReportFigure) -> Callable[[], Figure]:
        return lambda: one.draw(joined.copy(), width=width)

    return {name: drawing(one) for name, one in FIGURES.items()}
