"""What the page plots: rows of the reports' frame, one panel after another, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.page.reference import differences_from, plain_number, reference_of, speeds_over
from bench.records.schema import Record
from bench.report.drawing.series import series_of
from bench.report.figures.pareto import with_drawn
from bench.report.frame import MEASURED, join
from bench.report.panels import panels
from bench.report.tables.columns import LATENCY_MEANS, explain
from bench.report.words import (
    BEST_BATCH,
    FAILURES,
    NOT_MEASURED,
    SCOPE_NAMES,
    UNREDUCED,
    batch_words,
    device_name,
    dtype_words,
    engine_words,
    facts_line,
    family_words,
    method_label,
    point_label,
    score_word,
    series_name,
    table_name,
)
from bench.sweep.cells import STATED, canonical

FIRST = "default"
"""The sweep that the page opens with, where there is one."""

NUMBERS = (
    *("r", "tokens_out", "macs_per_clip", "latency", "speedup_slice"),
    *(
        f"{name}{end}"
        for name in ("throughput", "score", "compared", "drawn")
        for end in ("", "_low", "_high")
        if name + end not in ("compared", "drawn")
    ),
)
"""Columns of the reports' frame that go into a point unchanged."""
ONE_MEANS = (
    "On this page all engines of a panel are compared with one model, unmerged in plain PyTorch: their speed-ups and "
    "their differences in {score}. A difference has an interval where it is paired with that very model; bars in the "
    "plot are paired with the unmerged model of the same engine."
)


def page_panels(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the panels of every sweep in the order of the reports, each with its choices and its points.

    A point names its records of speed and quality by their index in `records`, None where there is none. Raises
    ReportError where records of a sweep cannot share one table.
    """
    found = []
    for sweep in sorted({record.sweep for record in records}, key=lambda name: (name != FIRST, name)):
        places = [place for place, record in enumerate(records) if record.sweep == sweep]
        index = _Index(records, places)
        joined = with_drawn(join([records[place] for place in places]))
        order = _series_order(joined)
        found += [_panel(panel, index, _data_name(joined), order) for _, panel in panels(joined)]
    return found


class _Index:
    """Indices of the records of a sweep, found by what a row of the frame says about them."""

    def __init__(self, records: Sequence[Record], places: Sequence[int]) -> None:
        self.records = records
        self.places = {(records[place].machine.key, records[place].cell.id): place for place in places}
        qualities = [place for place in places if records[place].cell.kind == "quality"]
        qualities.sort(key=lambda place: records[place].status in MEASURED)  # an answer replaces a failure
        self.qualities = {_asked(records[place]): place for place in qualities}

    def of(self, row: pd.Series) -> dict[str, int | None]:
        """Return the indices of a row's two records."""
        place = self.places[row["machine"], row["cell"]]
        quality = self.qualities.get(_asked(self.records[place])) if row["quality_status"] else None
        return {"speed_record": place if row["status"] else None, "quality_record": quality}


def _asked(record: Record) -> str:
    """Return, as one text, what a configuration's records of speed and quality share."""
    question = record.cell.question
    shared = {name: question.get(name) for name in ("reduction", "dtype", "attention")}
    model = {name: value for name, value in question["model"].items() if name not in STATED}
    return canonical({"machine": record.machine.key, "model": model} | shared)


def _series_order(joined: pd.DataFrame) -> list[str]:
    """Return the series of a sweep in the order in which its reports colour them, then those that they do not draw."""
    drawn = joined.dropna(subset=["throughput", "score"])
    return list(dict.fromkeys([*(series_of(drawn) if len(drawn) else ()), *series_of(joined)]))


def _panel(panel: pd.DataFrame, index: _Index, data: str, order: list[str]) -> dict[str, Any]:
    rows = [row for _, row in panel.iterrows()]
    one = reference_of(panel)
    measures = zip(rows, speeds_over(panel, one), differences_from(panel, one), strict=True)
    notes = list(dict.fromkeys([*explain(panel), LATENCY_MEANS]))
    engines = one is not None and bool(one["setup"])
    return {
        "choices": _choices(panel, data),
        "score": score_word(panel),
        "over": "plain PyTorch, unmerged" if engines else "unmerged",
        "looks": {series_name(row): _look(row, order) for row in rows},
        "facts": facts_line(panel),
        "notes": [ONE_MEANS.format(score=score_word(panel)), *notes] if engines else notes,
        "points": [
            _point(row) | speed | loss | {"reference": one is not None and row.name == one.name} | index.of(row)
            for row, speed, loss in measures
        ],
    }


def _look(row: pd.Series, order: list[str]) -> int | None:
    """Return the index in `order` whose colour a row has; an engine's unmerged model has that of its first series."""
    name = series_name(row)
    if name in order:
        return order.index(name)
    mine = (place for place, one in enumerate(order) if row["setup"] and one.startswith(f"{row['setup']}, "))
    return next(mine, None)


def _choices(panel: pd.DataFrame, data: str) -> dict[str, tuple[str, str]]:
    """Return what identifies a panel, by choice on the page: a value for the address, and its name."""
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
    """Return what the quality of a sweep was scored on."""
    scored = joined.dropna(subset=["score"])
    if not len(scored):
        return "speed only"
    first = scored.iloc[0]
    return f"{score_word(joined)} on {first['clips']:.0f} clips of {first['dataset']} {first['split']}"


def _point(row: pd.Series) -> dict[str, Any]:
    """Return what the plot and the table show of a row; missing numbers are None."""
    name = table_name(row)
    step = "" if row["method"] == "none" or pd.isna(row["r"]) else f"{row['r']:.0f}"
    slow, bad = (FAILURES.get(row[status], NOT_MEASURED) for status in ("status", "quality_status"))
    return {number: plain_number(row[number]) for number in NUMBERS} | {
        "id": str(row["cell"]),
        "series": series_name(row),
        "row": name,
        "name": f"{name}, r = {step}" if step else name,
        "short": "0" if row["method"] == "none" else step or (point_label(row) if row["method"] in UNREDUCED else ""),
        "unmerged": row["method"] == "none",
        "method": (row["method"], method_label(row["method"])),
        "schedule": (row["family"], family_words(row["family"])),
        "status": row["status"],
        "no_speed": slow,
        "no_score": bad,
        "standing": row["standing"],
    }
