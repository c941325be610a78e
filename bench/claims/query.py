"""A number of a claim -> its value, its interval, and the records that it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.claims.claim import ClaimError, DocumentClaim, Quantity
from bench.claims.condition import OPERATORS, Condition
from bench.records.schema import Record
from bench.report.words import number as written
from fastast.names import unknown_name

_TAKEN: dict[str, Callable[[pd.Series], float]] = {
    "min": pd.Series.min, "max": pd.Series.max, "mean": pd.Series.mean, "count": len,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a query found."""

    value: float
    low: float
    """Lower end of the 95 % interval; NaN without one."""
    high: float
    """Upper end."""
    rows: pd.DataFrame
    """Rows of the table that it comes from."""

    def text(self, number: Quantity) -> str:
        """Return it as a sentence writes it."""
        value, low, high = (written(number.times * x, number.form) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]" if number.interval else value


class Tables:
    """Tables of the published records, each read once.

    `results`: folder of records and of studies' trainings.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._sweep, self._study = cache(self._read_sweep), cache(self._read_study)
        self._records = cache(self._read_records)

    def of(self, number: Quantity) -> pd.DataFrame:
        """Return the table that a number is a query over. Raises ClaimError where there are no such records."""
        return self._sweep(number.sweep) if number.sweep is not None else self._study(number.study, number.table)

    def _read_sweep(self, sweep: str) -> pd.DataFrame:
        from bench.report.frame import join

        records = [record for record in self._records() if record.sweep == sweep]
        if not records:
            raise ClaimError(f"no records of the sweep {sweep!r} in {self._results}")
        return join(records)

    def _read_study(self, name: str, table: str) -> pd.DataFrame:
        from bench.study.families import families
        from bench.study.report import study_frame
        from bench.study.study_file import load_study

        study, trainings = load_study(name), self._results / "studies"
        if table == "families":
            return families(study, trainings)
        return study_frame(study, trainings, self._records())

    def _read_records(self) -> list[Record]:
        from bench.records.store import read_records

        return read_records(self._results)


def look_up(claim: DocumentClaim, tables: Tables) -> dict[str, Value]:
    """Return the values of a claim's numbers. Raises ClaimError for a query that finds nothing, or too much."""
    return {name: _value(f"{claim.name}.{name}", number, tables) for name, number in claim.numbers.items()}


def broken(claim: DocumentClaim, values: dict[str, Value]) -> list[str]:
    """Return the comparisons of a claim that are not so, with the numbers that say it."""
    known = {name: value.value for name, value in values.items()}
    known |= {f"{name}.low": value.low for name, value in values.items()}
    known |= {f"{name}.high": value.high for name, value in values.items()}
    failed = [Condition.parse(text) for text in claim.holds]
    return [
        " ".join(f"{side} ({known[side]:.6g})" if side in known else side for side in (c.left, c.sign, c.right))
        for c in failed
        if not c.holds(known)
    ]


def sentence_of(claim: DocumentClaim, values: dict[str, Value]) -> str:
    """Return the text with its numbers."""
    return claim.text.format(**{name: values[name].text(number) for name, number in claim.numbers.items()})


def _value(name: str, number: Quantity, tables: Tables) -> Value:
    table = tables.of(number)
    rows = table[_chosen(name, number, table)]
    column = _column(name, table, number.column)
    if number.take == "only" and len(rows) != 1:
        told = "; ".join(" ".join(map(str, row)) for row in rows.filter(["cell", "arm", "schedule"]).to_numpy()[:4])
        raise ClaimError(f"{name}: {len(rows)} rows match {number.where}, not one{f': {told}' if told else ''}")
    values = rows[column].dropna()
    if values.empty and number.take != "count":
        raise ClaimError(f"{name}: no row that matches {number.where} has {number.column!r}")
    if number.take != "only":
        taken = float(_TAKEN[number.take](values))
        return Value(value=taken, low=float("nan"), high=float("nan"), rows=rows)
    low, high = (
        float(rows[f"{column}_{end}"].iloc[0]) if f"{column}_{end}" in table else float("nan")
        for end in ("low", "high")
    )
    if number.interval and pd.isna([low, high]).any():
        raise ClaimError(f"{name}: {number.column!r} has no interval in that row")
    return Value(value=float(values.iloc[0]), low=low, high=high, rows=rows)


def _chosen(name: str, number: Quantity, table: pd.DataFrame) -> pd.Series:
    chosen = pd.Series(True, index=table.index)
    for key, wanted in number.where.items():
        try:
            chosen &= _matches(table[_column(name, table, key)], wanted)
        except ValueError as error:
            raise ClaimError(f"{name}: where {key} = {wanted!r}: {error}") from error
    return chosen


def _matches(column: pd.Series, wanted: Any) -> pd.Series:
    """Return the rows of a column that are as wanted. Raises ValueError where words are held against a number."""
    if isinstance(wanted, list):
        return column.isin(wanted)
    comparison = re.fullmatch(r"(<=|>=|!=|<|>) *(.+)", wanted) if isinstance(wanted, str) else None
    if comparison is None:
        return column == wanted
    sign, limit = comparison.groups()
    if sign == "!=":
        return column.astype(str) != limit
    return OPERATORS[sign](pd.to_numeric(column), float(limit)) & column.notna()


def _column(name: str, table: pd.DataFrame, column: str) -> str:
    if column not in table:
        raise ClaimError(f"{name}: {unknown_name('column', column, table.columns)}")
    return column
