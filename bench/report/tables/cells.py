"""The rows of a report's tables as text: what each cell says, and which rows and values stand out."""

from __future__ import annotations

from collections.abc import Container, Mapping

import pandas as pd

from bench.report.tables.columns import MARKS, OTHERS, columns_of
from bench.report.words import (
    BEST_BATCH,
    FAILURES,
    NOT_MEASURED,
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    interval,
    is_denominator,
    is_unmerged,
    number,
    scope_words,
    table_name,
)

TIMES = ("throughput", "latency", "real_time", "delay", "speedup", "oracle", "alone")
"""Columns of times and of ratios of times, beside those of `OTHERS`."""
TOO_SLOW = "cannot keep up"
TOO_FEW = "too few samples"
"""Text in place of a percentile of a delay that was measured, but not often enough."""


def panel_name(panel: pd.DataFrame) -> str:
    """Return the name of a panel: what all its rows share."""
    first = panel.iloc[0]
    batch = "quality only" if pd.isna(first["batch_size"]) else batch_words(first["batch_size"])
    return f"{device_name(first)}, {batch}{dtype_words(panel)}{engine_words(panel)}{scope_words(first)}"


def readable(panel: pd.DataFrame) -> pd.DataFrame:
    """Return a panel as text, one row per configuration; cells say what failed or was not measured."""
    rows = []
    for _, row in panel.iterrows():
        timed = is_denominator(row) and pd.notna(row["throughput"])
        scored = is_unmerged(row) and pd.notna(row["score"])
        slow, bad = (FAILURES.get(row[status], NOT_MEASURED) for status in ("status", "quality_status"))
        cells = {
            "configuration": table_name(row) + (" on the engine" if _is_other_unmerged(row) else ""),
            "r": "0" if row["method"] == "none" else number(row["r"], "{:.0f}", missing="–"),
            "tokens_out": number(row["tokens_out"], "{:.0f}"),
            "macs": number(row["macs_per_clip"] / 1e9, "{:.2f}"),
            "throughput": number(row["throughput"], "{:.1f}", missing=slow),
            "latency": number(row["latency"], "{:.1f}", missing=slow) + _batch(row),
            "real_time": number(row["real_time"], "{:.3f}", missing=slow),
            "delay": _delay(row, slow),
            "speedup": "1" if timed else interval(row, "speedup_unmerged", "{:.2f}", missing=slow),
            "oracle": "–" if row["method"] == "none" else number(row["speedup_slice"], "{:.2f}", missing=slow),
            **{f"over_{other}": interval(row, f"speedup_{other}", "{:.2f}", missing=slow) for other in OTHERS},
            "alone": interval(row, "over_alone", "{:.3f}", missing=slow),
            "map": interval(row, "score", "{:.3f}", missing=bad),
            "delta": "0" if scored else interval(row, "delta_score", "{:+.4f}", missing=bad),
            "standing": row["standing"] or (NOT_MEASURED if NOT_MEASURED in (slow, bad) else "–"),
        }
        rows.append(cells | _marked(cells, MARKS.get(row["status"], ""), bare={slow, "–", "1"}))
    return pd.DataFrame(rows, columns=list(columns_of(panel)))


def brief(panel: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return a panel's unmerged models and at most `most` others from its front, evenly spaced from slow to fast.

    In a panel without a front, the others are chosen from all that were timed, or from all if none was.
    """
    others = panel[panel["method"] != "none"].sort_values("throughput", kind="stable")
    others = others[others["throughput"].notna() | others["throughput"].isna().all()]
    front = others[others["standing"] == "front"]
    chosen = front if len(front) else others
    if len(chosen) > most:
        chosen = chosen.iloc[[round(i * (len(chosen) - 1) / (most - 1)) for i in range(most)]]
    return pd.concat([panel[panel["method"] == "none"], chosen])


def best_rows(panel: pd.DataFrame, place: int = 0) -> dict[str, list[int]]:
    """Return the rows with the best values of throughput, speed-up and score, or with the next best ones, by `place`.

    A disturbed speed is never the best. Rows are positions in the panel. Ties in what is printed are broken by the
    values themselves; equal values share their place.
    """
    reset = panel.reset_index(drop=True)
    found = {}
    for column, source in (("throughput", "throughput"), ("speedup", "speedup_unmerged"), ("map", "score")):
        values = reset.loc[reset["method"] != "none", source] if column == "speedup" else reset[source]
        values = values if column == "map" else values[reset["status"] != "disturbed"]
        compared = values.dropna()
        # A speed-up that makes nothing faster is not the best.
        eligible = compared[compared > 1] if column == "speedup" else compared
        if compared.nunique() > 1 and (rows := in_place(eligible, place)):
            found[column] = rows
    return found


def in_place(values: pd.Series, place: int) -> list[int]:
    """Return the index of the largest values, or of the next ones, by `place`; two equal best ones leave no second."""
    ranks = values.rank(ascending=False, method="min")
    return [int(index) for index in ranks.index[ranks == place + 1]]


def _marked(cells: Mapping[str, str], mark: str, *, bare: Container[str]) -> dict[str, str]:
    """Return the cells of a row that hold times, or their ratios, with a mark before each, without the `bare` ones."""
    timed = (*TIMES, *(f"over_{other}" for other in OTHERS))
    return {name: f"{mark}{cells[name]}" for name in timed if cells[name] not in bare}


def _is_other_unmerged(row: pd.Series) -> bool:
    """Return whether a row is an unmerged model other than the one that speed-ups are over."""
    return is_unmerged(row) and not is_denominator(row)


def _delay(row: pd.Series, missing: str) -> str:
    """Return median and 95th percentile of the delay of a stream's labels, or why there is none."""
    if row["real_time"] >= 1 or row["real_time_factor"] >= 1:  # by the panel's time, or when it was measured
        return TOO_SLOW
    if pd.isna(row["delay_p50"]):
        return missing
    return f"{row['delay_p50']:.1f} ({number(row['delay_p95'], '{:.1f}', missing=TOO_FEW)})"


def _batch(row: pd.Series) -> str:
    """Return the batch size of a time, in parentheses, if every row of the panel has its own; else empty text."""
    searched = row["batch_size"] == BEST_BATCH and pd.notna(row["latency"])
    return f" ({row['batch_measured']:.0f})" if searched else ""
