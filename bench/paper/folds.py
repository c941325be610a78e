"""ESC-50's score: the mean over its folds, each tested by the model that was not trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bench.records.store import read_records
from bench.report.frame import join
from bench.report.tables.markdown import markdown_table
from bench.report.words import batch_words, device_name, number, series_name
from fastast.system.writing import write_whole

FOLDS = 5
FILE = "folds.md"
_PANEL = ["machine", "device_name", "device", "instructions", "threads", "dtype", "engine", "scope", "batch_size"]
_ROW = ["configuration", "schedule", "r"]
_HEADS = ("Configuration", "r", "Folds", "Accuracy, mean", "Least to most", "Difference, mean", "Speed-up, mean")


def write_folds(results: Path, reports: Path, family: str, sweeps: Mapping[int, str]) -> Path | None:
    """Write the means of a family of models, one per fold, into a folder of its name; None where nothing is scored.

    `sweeps`: fold -> name of the sweep that was tested on it.
    """
    records = read_records(results) if results.is_dir() else []
    joined = {fold: join(own) for fold, name in sweeps.items() if (own := [r for r in records if r.sweep == name])}
    means = fold_means(joined)
    if means.empty:
        return None
    path = reports / family / FILE
    write_whole(path, folds_markdown(family, means).encode())
    return path


def fold_means(joined: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per configuration, batch size and machine, from the rows of `join` for every fold.

    Columns: those that identify a row, `folds` (how many were scored), the `least` and `most` score, and as means over
    the folds `score`, `delta` (paired, to the unmerged model of the same fold) and `speedup`.
    """
    if not joined:
        return pd.DataFrame()
    whole = pd.concat([frame.assign(fold=fold) for fold, frame in joined.items()], ignore_index=True)
    whole = whole[whole["score"].notna()]
    if whole.empty:
        return whole
    whole["speedup_unmerged"] = whole["speedup_unmerged"].where(whole["status"] != "disturbed")
    whole["configuration"] = whole.apply(series_name, axis=1)
    return (
        whole.groupby([*_PANEL, *_ROW], dropna=False, sort=False)
        .agg(
            folds=("fold", "nunique"),
            score=("score", "mean"),
            least=("score", "min"),
            most=("score", "max"),
            delta=("delta_score", "mean"),
            speedup=("speedup_unmerged", "mean"),
        )
        .reset_index()
    )


def folds_markdown(family: str, means: pd.DataFrame) -> str:
    """Return the means as one table per machine and batch size."""
    parts = [
        f"# {family}: mean over folds",
        "Every fold is tested by the model that was not trained on it; the protocol's number is the mean of all "
        f"{FOLDS}, and a row of fewer is no such number. Differences are to the unmerged model of the same fold, on "
        "the same clips.",
    ]
    for _, panel in means.groupby(_PANEL, dropna=False, sort=False):
        first = panel.iloc[0]
        batch = "quality only" if pd.isna(first["batch_size"]) else batch_words(first["batch_size"])
        rows = []
        for _, row in panel.iterrows():
            unmerged = row["schedule"] == "none"
            cells = [
                row["configuration"],
                "0" if unmerged else number(row["r"], "{:.0f}", missing=str(row["schedule"])),
                f"{row['folds']} of {FOLDS}",
                number(row["score"], "{:.4f}"),
                f"{number(row['least'], '{:.4f}')} to {number(row['most'], '{:.4f}')}",
                "0" if unmerged else number(row["delta"], "{:+.4f}"),
                "1" if unmerged else number(row["speedup"], "{:.2f}"),
            ]
            rows.append(cells)
        parts.append(f"**{device_name(first)}, {batch}, {first['dtype']}**\n\n{markdown_table(_HEADS, rows)}")
    return "\n\n".join(parts) + "\n"
