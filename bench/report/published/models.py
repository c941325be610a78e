"""Published models on AudioSet beside AST: the competition of a merged AST.

Scores are mAP on AudioSet's evaluation set, of single models, as stated by their authors. What they do not state is not
drawn: throughputs are those of other machines, and few authors give multiply-accumulates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.drawing.labels import Label, place_labels
from bench.report.drawing.layout import fix_layout, footnote
from bench.report.drawing.style import COLOURS, DOUBLE, MARKERS
from bench.report.published.figures import published_frame
from bench.report.words import row_name
from fastast.geometry import geometry
from fastast.macs import model_macs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIDES = "AST by stride, weights not averaged"
"""Family of the models that differ in nothing but their stride."""
DATASET = "audioset"
"""Data set whose records are drawn beside what others published."""


def drawn_models() -> pd.DataFrame:
    """Return the published models that have a family, with `gmacs` of AST by FastAST's formula."""
    found = published_frame().dropna(subset=["family"])
    for index, row in found[found["stride"].notna()].iterrows():
        stride = int(row["stride"])
        shape = geometry("base", fstride=stride, tstride=stride)
        found.loc[index, "gmacs"] = model_macs(shape) / 1e9
    return found


def published_figure(published: pd.DataFrame, measured: pd.DataFrame | None = None, *, width: float = DOUBLE) -> Figure:
    """Draw mAP against parameters, and against multiply-accumulates where these are known, with a marker per family.

    published: as returned by `drawn_models`. measured: joined records, of which those on AudioSet are drawn too.
    width: inches; in one column of a paper the second panel is below the first.
    """
    import matplotlib.pyplot as plt

    across = 2 if width == DOUBLE else 1
    size = (width, 0.8 + 2.5 * (2 // across))
    figure, axes = plt.subplots(2 // across, across, figsize=size, squeeze=False, sharey=True)
    own = _on_audioset(measured)
    families = list(dict.fromkeys(published["family"]))
    columns = {"parameters_m": "Parameters (million)", "gmacs": "Multiply-accumulates per clip (G)"}
    placed = []
    for axis, (column, label) in zip(axes.flat, columns.items(), strict=True):
        known = published[published[column].notna()]
        if column == "parameters_m":  # a larger stride has the same number
            known = known[known["family"] != STRIDES]
        for number, family in enumerate(families):
            part = known[known["family"] == family]
            if part.empty:
                continue
            axis.plot(
                *(part[column], part["mAP"]),
                color=COLOURS[number],
                marker=MARKERS[number],
                markerfacecolor=COLOURS[number] if family.startswith("AST") else "white",
                linestyle="-" if len(part) > 1 else "none",
                linewidth=0.6,
                label=family,
            )
        if len(own) and column == "gmacs":
            axis.plot(own["gmacs"], own["score"], color="black", marker="x", linestyle="none", label="measured here")
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.margins(x=0.2, y=0.1)
        placed.append((axis, known, column))
    for axis in axes[:, 0]:
        axis.set_ylabel("mAP on AudioSet")
    shown = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=min(len(shown), 4))
    footnote(
        figure,
        "Single models, as their authors published them; not measured here. Multiply-accumulates: of AST by FastAST's "
        "formula, of EfficientAT by its authors; the others give none.",
    )
    fix_layout(figure)
    for axis, known, column in placed:
        _label(axis, known, column, families)
    return figure


def _on_audioset(measured: pd.DataFrame | None) -> pd.DataFrame:
    """Return the distinct rows of joined records that were scored on AudioSet, with `gmacs` and `name`."""
    if measured is None:
        return pd.DataFrame(columns=["gmacs", "score", "name"])
    rows = measured[(measured["dataset"] == DATASET) & measured["score"].notna()].copy()
    rows["gmacs"] = pd.to_numeric(rows["macs_per_clip"]) / 1e9
    rows["name"] = [row_name(row) for _, row in rows.iterrows()]
    return rows.drop_duplicates(["gmacs", "score", "name"])


def _label(axis: Axes, known: pd.DataFrame, column: str, families: list[str]) -> None:
    labels = [
        Label(
            x=row[column],
            y=row["mAP"],
            text=_short(row),
            colour=COLOURS[families.index(row["family"])],
            above=True,
        )
        for _, row in known.iterrows()
    ]
    lines = [known.loc[known["family"] == family, [column, "mAP"]].to_numpy(dtype=float) for family in families]
    place_labels(axis, labels, lines=[line for line in lines if len(line) > 1 and np.isfinite(line).all()])


def _short(row: pd.Series) -> str:
    """Return a model's name without that of its family; for the strides of AST only the stride."""
    return f"{row['stride']:.0f}" if row["family"] == STRIDES else row["model"].removeprefix("EfficientAT ")
