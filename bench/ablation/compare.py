"""Compare the records of a sweep of alternatives: a group per machine and model, with its tables and all numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.ablation.classes import class_changes
from bench.ablation.evidence import labels_of, read_evidence
from bench.ablation.facts import Provenance, facts_of
from bench.ablation.series import Alternatives, sort_out
from bench.ablation.table import AblationTable
from bench.ablation.tables import axis_table, front_tables, numbers
from bench.records.machines import why_apart
from bench.records.schema import Record
from bench.records.store import read_records, to_frame
from bench.report.frame import MEASURED, ReportError
from bench.report.words import device_name
from fastast.metrics import METRIC_OF


@dataclass(frozen=True, kw_only=True)
class ComparedAlternatives:
    """The alternatives on one machine, with one model, number format and engine."""

    name: str
    """Machine and number format in words, with the engine and the model where there are several."""
    records: tuple[Record, ...]
    facts: Provenance
    found: Alternatives
    word: str
    """Measure of the data: mAP or accuracy."""
    tables: tuple[AblationTable, ...]
    numbers: pd.DataFrame
    """Every number of the tables and of classes: alternative, against, measure, at, value, low, high, and origin."""
    classes: pd.DataFrame
    """Those numbers that are changes of average precision by class; may be empty."""


def compare_alternatives(
    results: Path, sweep: str, *, labels: np.ndarray | None = None, classes: Sequence[str] = ()
) -> list[ComparedAlternatives]:
    """Return the comparisons of a sweep, one for every machine, model, number format and engine.

    `labels` (n, c) and the names of `classes` are read from the data set unless given. Raises ReportError if there are
    no records, or alternatives cannot be compared.
    """
    found = [record for record in read_records(results) if record.sweep == sweep] if results.is_dir() else []
    if not found:
        raise ReportError(f"ablation: no records of sweep {sweep!r} in {results}; run: python -m bench run {sweep}")
    if any("length" in record.cell.question["model"] for record in found):
        raise ReportError(
            f"ablation: sweep {sweep!r} also runs clips at their own length, and alternatives are not compared across "
            f"lengths; draw it with: python -m bench report --sweep {sweep}"
        )
    scored = next((record for record in found if record.quality is not None and record.status in MEASURED), None)
    if scored is None:
        raise ReportError(f"ablation: no quality was measured in sweep {sweep!r}")
    if labels is None:
        labels, classes = labels_of(scored)
    if words := why_apart(found):
        raise ReportError(f"ablation: {words}")
    _refuse_other_workloads(sweep, found)
    names = list(classes) or [f"class {number + 1}" for number in range(labels.shape[1])]
    return [_compare(name, records, results, labels, names) for name, records in group_records(found).items()]


def _refuse_other_workloads(sweep: str, records: Sequence[Record]) -> None:
    """Raise ReportError for more than one workload: a front across several would mean nothing."""
    found: dict[str, set[str]] = {"batch_size": set(), "scope": set(), "attention": set()}
    for record in records:
        question = record.cell.question
        if record.performance is not None:
            found["batch_size"].add(str(question["workload"]["batch_size"]))
            found["scope"].add(str(question.get("measure", {}).get("scope", "forward")))
            found["attention"].add(str(question["attention"]))
    for key, values in found.items():
        if len(values) > 1:
            raise ReportError(
                f"ablation: sweep {sweep!r} has {key} {', '.join(sorted(values))}, but alternatives are compared at "
                "one; measure each in a sweep of its own"
            )


def group_records(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Group records by machine, weights, number format and engine; return the groups by name."""
    weights = {record.cell.question["model"].get("sha256", "") for record in records}
    rows = to_frame(records)
    engines = rows["engine"].nunique()
    groups: dict[str, list[Record]] = {}
    for record, (_, row) in zip(records, rows.iterrows(), strict=True):
        name = f"{device_name(row)}, {row['dtype']}" if pd.notna(row["device"]) else record.machine.key
        if engines > 1:
            name = f"{name}, {row['engine']}"
        if len(weights) > 1:
            name = f"{row['model']} on {name}"
        groups.setdefault(f"{record.cell.question['model'].get('sha256', '')} {name}", []).append(record)
    return {name.partition(" ")[2]: found for name, found in groups.items()}


def _compare(
    name: str, records: list[Record], results: Path, labels: np.ndarray, classes: Sequence[str]
) -> ComparedAlternatives:
    word = next((_word(record) for record in records if record.quality is not None), "mAP")
    try:
        found = sort_out(read_evidence(records, results, labels))
        tables = [axis_table(found, word)] if found.is_one_axis else front_tables(found, word)
        frame = numbers(found)
        changes = pd.DataFrame() if found.is_one_axis else class_changes(found, records, results, labels, classes)
    except ValueError as error:
        raise ReportError(f"ablation: {records[0].sweep}: {error}") from error
    model = next((record.model.name for record in records if record.model is not None), "")
    commits = sorted({str(record.suite.commit)[:12] for record in records})
    whence = {"machine": records[0].machine.key, "model": model, "commit": " ".join(commits)}
    return ComparedAlternatives(
        name=name,
        records=tuple(records),
        facts=facts_of(name, records),
        found=found,
        word=word,
        tables=tuple(tables),
        numbers=pd.concat([frame, changes]).assign(**whence),
        classes=changes,
    )


def _word(record: Record) -> str:
    assert record.quality is not None
    return METRIC_OF[record.quality.task]
