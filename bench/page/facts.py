"""Everything in a record except its samples, as names and values, each value stored once.

The machine and the versions behind a number are the same in most records, and so are most values of most columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.records.columns import COLUMNS
from bench.records.schema import Record
from bench.records.store import to_frame
from bench.report.words import device_name, runtime_of, runtime_words

PARTS = {
    "machine": "Machine",
    "engine": "Engine",
    "software": "Versions and switches",
    "surroundings": "Surroundings",
    "suite": "FastAST",
}
"""Parts of a record that describe what measured, with their headings."""
ANSWER = "Record"
"""Heading of what was asked and measured."""


def record_facts(records: Sequence[Record]) -> dict[str, Any]:
    """Return `names` ([heading, name, meaning]), `values`, and for every record the indices into them.

    `pairs`: name and value of each fact, flat. `made_with`: a line on machine and versions, in `values`. `paths`: path
    of the record below the root of the repository.
    """
    names: dict[tuple[str, str, str], int] = {}
    values: dict[str, int] = {}
    pairs, made_with = [], []
    for record, (_, row) in zip(records, to_frame(records).iterrows(), strict=True):
        found: list[int] = []
        for name, value in (*_answers(row), *_parts(record)):
            found += (names.setdefault(name, len(names)), values.setdefault(value, len(values)))
        pairs.append(found)
        line = _made_with(record, row)
        made_with.append(values.setdefault(line, len(values)))
    return {
        "names": list(names),
        "values": list(values),
        "pairs": pairs,
        "made_with": made_with,
        "paths": [f"results/{record.machine.key}/{record.sweep}/{record.cell.id}.json" for record in records],
    }


def _made_with(record: Record, row: pd.Series) -> str:
    software, suite = record.software, record.suite
    runtime = runtime_of(record)
    known = {
        "driver": row["driver"],
        "PyTorch": software.torch,
        **({runtime_words(runtime).rpartition(" ")[0]: runtime.rpartition(" ")[2]} if runtime else {}),
        "CUDA": software.cuda,
        "Python": software.python,
        "FastAST": suite.version,
        "commit": (suite.commit or "")[:12] + (" (changed)" if suite.dirty else ""),
    }
    return ", ".join(
        [device_name(row), *(f"{name} {text}" for name, value in known.items() if (text := fact_text(value)))]
    )


def _answers(row: pd.Series) -> Iterator[tuple[tuple[str, str, str], str]]:
    for column, meaning in COLUMNS.items():
        if text := fact_text(row[column]):
            yield (ANSWER, column, meaning), text


def _parts(record: Record) -> Iterator[tuple[tuple[str, str, str], str]]:
    for part, heading in PARTS.items():
        facts = getattr(record, part)
        for name, value in _leaves(facts.model_dump() if facts is not None else {}):
            if text := fact_text(value):
                yield (heading, name, ""), text


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def fact_text(value: Any) -> str:
    """Return a value for people, empty for a missing one; six digits are more than any measurement here resolves."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(fact_text, value))
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = float(value)
    return f"{number:.0f}" if number.is_integer() else f"{number:.6g}"
