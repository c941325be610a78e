"""Which classes lose as more tokens are removed: average precision by class against r, for the reference alternative.

Shapes: `n` clips, `c` classes, `b` bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.ablation.series import Alternatives
from bench.records.predictions import read_predictions
from bench.records.schema import Record
from bench.records.store import Store
from bench.report.drawing.layout import fix_layout, footnote
from bench.report.drawing.style import COLOURS, GREY, GUIDE, MARKERS, SINGLE
from fastast.metrics import METRIC_OF, average_precisions, measure_scores
from fastast.statistics import CLIP_REPLICATES, CLIPS_SEED, clip_weights, finite_interval, side_of_zero

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURE = "average precision of class"
"""Measure in the table of all numbers, where the class is the alternative and r is `at`."""
_NAMED = 6
"""Number of classes that a figure names: those that lose most."""


def class_changes(
    found: Alternatives, records: Sequence[Record], results: Path, labels: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Return a row per class and r of the reference: average precision minus the unmerged model's, with its interval.

    labels: (n, c). Empty if the reference has only one point, if the sweep has no unmerged model, or if clips have one
    label and are therefore not scored by average precision.
    """
    chosen = records_by_r(found, records)
    if found.unmerged is None or len(chosen) < 3 or METRIC_OF[_task(chosen[0])] != "mAP":
        return pd.DataFrame()
    weights = clip_weights(len(labels), seed=CLIPS_SEED, replicates=CLIP_REPLICATES)  # (b, n)
    values, drawn = {}, {}
    for r, record in chosen.items():
        path = Store(results, record.machine.key, record.sweep).predictions_path(record.cell.id)
        ranking = read_predictions(path)[0].ranking  # (n, c)
        values[r], drawn[r] = measure_scores(labels, ranking).AP, average_precisions(labels, ranking, weights)
    rows: list[dict[str, Any]] = []
    for column, name in enumerate(classes):
        for r in sorted(set(chosen) - {0}):
            change = float(values[r][column] - values[0][column])
            interval = finite_interval(change, drawn[r][:, column] - drawn[0][:, column])  # of (b,)
            if np.isnan(change) or interval is None:
                continue
            low, high = interval
            rows.append(
                {
                    "alternative": name,
                    "against": "unmerged",
                    "measure": MEASURE,
                    "at": r,
                    "value": change,
                    "low": min(low, change),
                    "high": max(high, change),
                }
            )
    return pd.DataFrame(rows)


def records_by_r(found: Alternatives, records: Sequence[Record]) -> dict[int, Record]:
    """Return the existing quality records of the reference by r, and that of the unmerged model as 0."""
    by_reduction = {
        repr(record.cell.question["reduction"]): record
        for record in records
        if record.quality is not None and record.cell.question.get("model", {}).get("stride") is None
    }
    reference = found.reference
    asked = {int(r): point.reduction for r, point in zip(reference.rs, reference.points, strict=True) if r}
    every = {0: None} | asked
    return {r: by_reduction[repr(reduction)] for r, reduction in every.items() if repr(reduction) in by_reduction}


def class_sentence(changes: pd.DataFrame, reference: str) -> str:
    """Return a sentence on how many classes lose and gain at the largest r, and which one loses most."""
    r = changes["at"].max()
    last = changes[changes["at"] == r]
    worst = last.loc[last["value"].idxmin()]
    sides = [side_of_zero(low, high) for low, high in zip(last["low"], last["high"], strict=True)]
    lose, gain = sides.count(-1), sides.count(1)
    numbers = ", ".join(f"{worst[key]:+.3f}".replace("-", "−") for key in ("low", "high"))
    value = f"{worst['value']:+.3f}".replace("-", "−")
    return (
        f"With {reference} at r = {r}, {lose} of {len(last)} classes lose average precision and {gain} gain, by 95 % "
        f"intervals that exclude zero; {worst['alternative']} loses most, {value} [{numbers}]. The intervals are not "
        "corrected for choosing the worst of so many classes."
    )


def class_figure(changes: pd.DataFrame, reference: str, *notes: str) -> Figure:
    """Draw the change of every class against r, in grey except those that lose most at the largest r, which are named.

    Each of these has a colour and a marker, which also precedes its name. Their intervals at the largest r are drawn
    side by side in a separate strip, as they would cover each other at one r. notes: lines of the footnote.
    """
    import matplotlib.pyplot as plt

    figure, (axis, strip) = plt.subplots(1, 2, figsize=(1.5 * SINGLE, 3.3), sharey=True, width_ratios=(5, 1))
    largest = changes["at"].max()
    last = changes[changes["at"] == largest].sort_values("value")
    named = last[:_NAMED]
    styles = dict(zip(named["alternative"], zip(COLOURS, MARKERS, strict=True), strict=False))
    drawn = max(changes["value"].max(), named["high"].max()) - min(changes["value"].min(), named["low"].min())
    heights = _apart([float(value) for value in named["value"]], 0.055 * float(drawn))
    for part in (axis, strip):
        part.axhline(0, color="#888888", linewidth=0.5, zorder=GUIDE)
    for name, rows in changes.groupby("alternative", sort=False):
        rows = rows.sort_values("at")
        colour, marker = styles.get(name, ("#cccccc", ""))
        width, above = (1.1, 3) if marker else (0.6, 1)
        x, y = np.append(0, rows["at"]), np.append(0.0, rows["value"])
        axis.plot(x, y, color=colour, linewidth=width, zorder=above, marker=marker, markersize=3.5)
    for place, (row, height) in enumerate(zip(named.itertuples(), heights, strict=True)):
        (colour, marker), spread = styles[row.alternative], [[row.value - row.low], [row.high - row.value]]
        strip.errorbar(place, row.value, yerr=spread, fmt=marker, markersize=3.5, color=colour, elinewidth=0.8)
        strip.plot(
            1.12, height, marker, markersize=3.5, color=colour, transform=strip.get_yaxis_transform(), clip_on=False,
            scalex=False, scaley=False,
        )  # fmt: skip
        strip.annotate(
            str(row.alternative), (1, height), xycoords=("axes fraction", "data"), xytext=(10, 0),
            textcoords="offset points", color=colour, fontsize=7, va="center", annotation_clip=False,
        )  # fmt: skip
    strip.set_xlim(-0.8, len(named) - 0.2)
    strip.set_xticks([])
    strip.tick_params(left=False, labelleft=False)
    strip.spines[["left", "right", "top"]].set_visible(False)
    strip.set_xlabel(f"r = {largest:.0f}")
    axis.set_xlabel("Tokens removed per block, mean (r)")
    axis.set_ylabel("Average precision minus unmerged")
    axis.set_title(f"{reference}; grey: the other classes", loc="left", size=7, color=GREY)
    chosen = (
        f"named: the {len(named)} of {len(last)} classes that lose most at r = {largest:.0f}, chosen by this very "
        "number; bars: 95 % intervals of the difference paired over clips, not corrected for that"
    )
    footnote(figure, *notes, chosen)
    fix_layout(figure)
    return figure


def _apart(values: list[float], step: float) -> list[float]:
    """Move ascending heights of labels at least a step apart, so that no two cover each other."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else max(value, found[-1] + step))
    return found


def _task(record: Record) -> Any:
    assert record.quality is not None
    return record.quality.task
