"""Look up the numbers of claims: value, interval, and the records that they come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from bench.ablation.published import has_records, published_numbers
from bench.claims.claim import ClaimError, DocumentClaim, Quantity
from bench.claims.condition import Condition
from bench.claims.rows import chosen_rows, column_of
from bench.records.schema import Record
from bench.report.words import interval, listed
from bench.report.words import number as written
from bench.tuning.published import tuning_frame, tuning_path
from fastast.names import unknown_name
from fastast.statistics import side_of_zero

_TAKEN: dict[str, Callable[[pd.Series], float]] = {
    "min": pd.Series.min, "max": pd.Series.max, "mean": pd.Series.mean, "count": len, "list": len,
}  # fmt: skip
_COUNTED = ("count", "list")
"""Takes for which no row needs to match."""
NOBODY = "none"
"""Text for a list without names."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """The result of a query."""

    value: float
    low: float
    """Lower end of the 95 % interval; NaN without one."""
    high: float
    """Upper end of that interval."""
    rows: pd.DataFrame
    """Rows of the table that the value comes from."""

    def text(self, number: Quantity) -> str:
        """Return the value as text: a number, the names of its rows, or the words for its interval."""
        if number.words is not None:
            below, zero, above = number.words
            return (zero, above, below)[side_of_zero(number.times * self.low, number.times * self.high)]
        if number.name:
            names = listed(self._names(number))
            nobody = "" if number.lead else NOBODY
            return number.lead + names if names else nobody
        if number.interval:
            return _with_interval(number, self.rows.iloc[0])
        return written(number.times * self.value, number.form)

    def _names(self, number: Quantity) -> list[str]:
        """Return the names of the rows, each once or, in a list with intervals, with its number."""
        if not number.interval:
            return [str(name) for name in dict.fromkeys(self.rows[number.name])]
        rows = self.rows.sort_values(number.column, ascending=False, kind="stable")
        return [f"{row[number.name]} ({_with_interval(number, row)})" for _, row in rows.iterrows()]


def _with_interval(number: Quantity, row: pd.Series) -> str:
    columns = [number.column, f"{number.column}_low", f"{number.column}_high"]
    return interval(number.times * row[columns], number.column, number.form)


class Tables:
    """Tables of published records and of files beside the claims, each read only once.

    results: folder of records, trainings of studies and tunings. reports: folder of rendered sweeps of alternatives,
    and of those files.
    """

    def __init__(self, results: Path, reports: Path = Path("reports")) -> None:
        self._results, self._reports = results, reports
        self._sweep, self._study = cache(self._read_sweep), cache(self._read_study)
        self._ablation, self._file = cache(self._read_ablation), cache(self._read_file)
        self._records = cache(self._read_records)

    def of(self, number: Quantity) -> pd.DataFrame:
        """Return the table that a number queries. Raises ClaimError if its records or file do not exist."""
        if number.ablation is not None:
            return self._ablation(number.ablation)
        if number.tuning is not None:
            return tuning_frame(self._results, number.tuning)
        if number.file is not None:
            return self._file(number.file)
        return self._sweep(number.sweep) if number.sweep is not None else self._study(number.study, number.table)

    def misses(self, claim: DocumentClaim) -> bool:
        """Return whether a claim queries an ablation or a tuning that is not published."""
        asked = claim.numbers.values()
        return any(
            (number.ablation is not None and not has_records(self._results, number.ablation))
            or (number.tuning is not None and not tuning_path(self._results, number.tuning).is_file())
            for number in asked
        )

    def _read_sweep(self, sweep: str) -> pd.DataFrame:
        from bench.report.frame import join

        records = [record for record in self._records() if record.sweep == sweep]
        if not records:
            raise ClaimError(f"no records of the sweep {sweep!r} in {self._results}")
        return join(records)

    def _read_study(self, name: str, table: str) -> pd.DataFrame:
        from bench.study.figures.families import families
        from bench.study.report import study_frame, times_to_reference, validations
        from bench.study.study_file import load_study

        study, trainings = load_study(name), self._results / "studies"
        if table == "families":
            return families(study, trainings)
        if table == "times":
            return times_to_reference(study, trainings, self._records())
        if table == "progress":
            return validations(study, trainings, self._records())
        return study_frame(study, trainings, self._records())

    def _read_ablation(self, sweep: str) -> pd.DataFrame:
        found = published_numbers(self._results, self._reports, sweep)
        ends = found[["low", "high"]].to_numpy()
        sides = [math.nan if pd.isna(pair).any() else side_of_zero(*pair) for pair in ends]
        return found.rename(columns={"low": "value_low", "high": "value_high"}).assign(side=sides)

    def _read_file(self, name: str) -> pd.DataFrame:
        known = sorted(path.stem for path in self._reports.glob("*.csv"))
        if name not in known:
            raise ClaimError(f"{self._reports}: {unknown_name('file', name, known)}")
        return pd.read_csv(self._reports / f"{name}.csv")

    def _read_records(self) -> list[Record]:
        from bench.records.store import read_records

        return read_records(self._results)


def look_up(claim: DocumentClaim, tables: Tables) -> dict[str, Value]:
    """Return the values of a claim's numbers. Raises ClaimError if a query finds nothing, or too much."""
    return {name: _value(f"{claim.name}.{name}", number, tables) for name, number in claim.numbers.items()}


def broken(claim: DocumentClaim, values: dict[str, Value]) -> list[str]:
    """Return the comparisons of a claim that are false, with their numbers."""
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
    """Return the text of a claim with its numbers filled in."""
    return claim.text.format(**{name: values[name].text(number) for name, number in claim.numbers.items()})


def _value(name: str, number: Quantity, tables: Tables) -> Value:
    table = tables.of(number)
    rows = table[chosen_rows(name, number, table)]
    column = column_of(name, table, number.column)
    if number.take == "only" and len(rows) != 1:
        told = "; ".join(" ".join(map(str, row)) for row in rows.filter(["cell", "arm", "schedule"]).to_numpy()[:4])
        raise ClaimError(f"{name}: {len(rows)} rows match {number.where}, not one{f': {told}' if told else ''}")
    values = rows[column].dropna()
    if values.empty and number.take not in _COUNTED:
        raise ClaimError(f"{name}: no row that matches {number.where} has {number.column!r}")
    if number.name:
        column_of(name, table, number.name)
    if number.take != "only":
        taken = float(_TAKEN[number.take](values))
        if number.name and number.take in ("min", "max"):
            rows = rows[rows[column] == taken]
        return Value(value=taken, low=float("nan"), high=float("nan"), rows=rows)
    low, high = (
        float(rows[f"{column}_{end}"].iloc[0]) if f"{column}_{end}" in table else float("nan")
        for end in ("low", "high")
    )
    if (number.interval or number.words) and pd.isna([low, high]).any():
        raise ClaimError(f"{name}: {number.column!r} has no interval in that row")
    return Value(value=float(values.iloc[0]), low=low, high=high, rows=rows)
