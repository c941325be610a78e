"""What the page plots: rows of the reports' frame, one panel after another, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.records.export import OWN_LENGTH, STRIDE
from bench.records.schema import Record
from bench.report.frame import MEASURED, join
from bench.report.panels import panels
from bench.report.tables import explain
from bench.report.words import (
    BEST_BATCH,
    FAILURES,
    NOT_MEASURED,
    SCOPE_NAMES,
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    facts_line,
    family_words,
    is_denominator,
    is_unmerged,
    method_label,
    score_word,
    series_name,
)
from bench.sweep.cells import STATED, canonical

FIRST = "default"
"""The sweep that the page opens with, where there is one."""

NUMBERS = (
    *("r", "tokens_out", "macs_per_clip", "latency", "speedup_slice"),
    *(
        f"{name}{end}"
        for name in ("throughput", "score", "delta_score", "compared")
        for end in ("", "_low", "_high")
        if name + end != "compared"
    ),
)
"""Columns of the reports' frame that a point has as they are."""


def page_panels(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the panels of every sweep in the order of the reports, each with its choices and its points.

    A point names its records of speed and quality by their place in `records`, None where there is none. Raises
    ReportError where records of a sweep cannot stand in one table.
    """
    found = []
    for sweep in sorted({record.sweep for record in records}, key=lambda name: (name != FIRST, name)):
        places = [place for place, record in enumerate(records) if record.sweep == sweep]
        index = _Index(records, places)
        joined = join([records[place] for place in places])
        found += [_panel(panel, index, _data_name(joined)) for _, panel in panels(joined)]
    return found


class _Index:
    """Where the records of a sweep are, by what a row of the frame says of them."""

    def __init__(self, records: Sequence[Record], places: Sequence[int]) -> None:
        self.records = records
        self.places = {(records[place].machine.key, records[place].cell.id): place for place in places}
        qualities = [place for place in places if records[place].cell.kind == "quality"]
        qualities.sort(key=lambda place: records[place].status in MEASURED)  # an answer replaces a failure
        self.qualities = {_asked(records[place]): place for place in qualities}

    def of(self, row: pd.Series) -> dict[str, int | None]:
        """Return the places of a row's two records."""
        place = self.places[row["machine"], row["cell"]]
        quality = self.qualities.get(_asked(self.records[place])) if row["quality_status"] else None
        return {"speed_record": place if row["status"] else None, "quality_record": quality}


def _asked(record: Record) -> str:
    """Return what the records of a configuration's speed and quality share."""
    question = record.cell.question
    shared = {name: question.get(name) for name in ("reduction", "dtype", "attention")}
    model = {name: value for name, value in question["model"].items() if name not in STATED}
    return canonical({"machine": record.machine.key, "model": model} | shared)


def _panel(panel: pd.DataFrame, index: _Index, data: str) -> dict[str, Any]:
    rows = [row for _, row in panel.iterrows()]
    return {
        "choices": _choices(panel, data),
        "score": score_word(panel),
        "facts": facts_line(panel),
        "notes": explain(panel),
        "points": [_point(row) | speed | index.of(row) for row, speed in zip(rows, _speeds(panel), strict=True)],
    }


def _choices(panel: pd.DataFrame, data: str) -> dict[str, tuple[str, str]]:
    """Return what tells a panel from the others, by what a person chooses: a value for the address, and its name."""
    first, scope = panel.iloc[0], panel["scope"].iloc[0]
    batch = first["batch_size"]
    size = "" if pd.isna(batch) else "best" if batch == BEST_BATCH else f"{batch:.0f}"
    runs = f"{dtype_words(panel)}{engine_words(panel)}".removeprefix(", ") or "several engines"
    return {
        "device": (first["machine"], device_name(first)),
        "data": (first["sweep"], f"{first['sweep']}: {data}"),
        "model": (str(first["sha256"] or first["model"])[:12], str(first["model"])),
        "runs": (runs, runs),
        "timed": (scope or "none", SCOPE_NAMES.get(scope, "the forward") if scope else "nothing"),
        "batch": (size or "none", batch_words(batch) if size else "quality only"),
    }


def _data_name(joined: pd.DataFrame) -> str:
    """Return what the qualities of a sweep are of."""
    scored = joined.dropna(subset=["score"])
    if not len(scored):
        return "speed only"
    first = scored.iloc[0]
    return f"{score_word(joined)} on {first['clips']:.0f} clips of {first['dataset']} {first['split']}"


def _speeds(panel: pd.DataFrame) -> list[dict[str, float | None]]:
    """Return the speed of every row over the unmerged model's: where engines share the panel, over the plain one's."""
    name = "speedup_plain" if panel["setup"].any() and panel["speedup_plain"].notna().any() else "speedup_unmerged"
    found = []
    for _, row in panel.iterrows():
        itself = is_denominator(row) and pd.notna(row["throughput"]) and not row["setup"]
        values: list[Any] = [1, None, None] if itself else [row[f"{name}{end}"] for end in ("", "_low", "_high")]
        found.append(dict(zip(("speed", "speed_low", "speed_high"), map(plain_number, values), strict=True)))
    return found


def _point(row: pd.Series) -> dict[str, Any]:
    """Return what the plot and the table show of a row; numbers that there are not are None."""
    series = series_name(row)
    step = "" if row["method"] in ("none", OWN_LENGTH) or pd.isna(row["r"]) else f"r = {row['r']:.0f}"
    if row["method"] == STRIDE:
        step = row["schedule"].replace(":", " = ")
    values = {name: plain_number(row[name]) for name in NUMBERS}
    if is_unmerged(row) and values["score"] is not None:
        values |= {"delta_score": 0.0, "delta_score_low": None, "delta_score_high": None}
    slow, bad = (FAILURES.get(row[status], NOT_MEASURED) for status in ("status", "quality_status"))
    return values | {
        "id": str(row["cell"]),
        "series": series,
        "name": f"{series}, {step}" if step else series,
        "short": "0" if row["method"] in ("none", OWN_LENGTH) else step.rpartition(" = ")[2],
        "unmerged": row["method"] == "none",
        "method": (row["method"], method_label(row["method"])),
        "schedule": (row["family"], family_words(row["family"])),
        "status": row["status"],
        "no_speed": slow,
        "no_score": bad,
        "standing": row["standing"],
    }


def plain_number(value: Any) -> float | None:
    """Return a number of a frame as JSON knows numbers, None for a missing one."""
    return None if value is None or pd.isna(value) or math.isinf(value) else float(value)
