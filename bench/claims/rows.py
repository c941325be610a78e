"""Which rows of a table a query means: what its `where` says, column by column."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype

from bench.claims.claim import ClaimError, Quantity
from bench.claims.condition import OPERATORS
from fastast.names import unknown_name

_LARGEST = "largest"
_MISSING = "missing"
_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>) *(.+)")
_BOOLEANS = {"true": True, "false": False}
_KINDS = {"string": "words", "boolean": "true and false"} | dict.fromkeys(
    ("integer", "floating", "mixed-integer-float"), "numbers"
)
"""Of pandas' names."""


def chosen_rows(name: str, number: Quantity, table: pd.DataFrame) -> pd.Series:
    """Return which rows a number is of, as booleans. Raises ClaimError for a column or a value that is not there."""
    chosen = pd.Series(True, index=table.index)
    for key, wanted in sorted(number.where.items(), key=_turn):
        column = table[column_of(name, table, key)]
        try:
            if wanted == _LARGEST:
                chosen &= column == pd.to_numeric(column[chosen]).max()
            else:
                chosen &= _matches(column, wanted)
        except ValueError as error:
            raise ClaimError(f"{name}: where {key} = {wanted!r}: {error}") from error
    return chosen


def _matches(column: pd.Series, wanted: Any) -> pd.Series:
    """Return the rows of a column that are as wanted; a missing value is like nothing and unlike nothing.

    Raises ValueError where words are held against a number, or a number against words.
    """
    if wanted == _MISSING:
        return column.isna()
    comparison = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    if comparison is None:
        values = wanted if isinstance(wanted, list) else [wanted]
        return column.isin([_of_its_kind(column, value) for value in values])
    sign, limit = comparison.groups()
    if sign in ("==", "!="):
        is_equal = column == _of_its_kind(column, _read(column, limit))
        return (is_equal if sign == "==" else ~is_equal) & column.notna()
    return OPERATORS[sign](pd.to_numeric(column), float(limit)) & column.notna()


def _read(column: pd.Series, text: str) -> str | float | bool:
    """Return what a comparison's text means beside a column. Raises ValueError for a word beside numbers."""
    kind = _kind(column)
    return float(text) if kind == "numbers" else _BOOLEANS.get(text, text) if kind == "true and false" else text


def _of_its_kind(column: pd.Series, value: str | float | bool) -> str | float | bool:
    """Return a value that a column can have. Raises ValueError for one that it cannot, whatever its rows are."""
    is_what = "words" if isinstance(value, str) else "true and false" if isinstance(value, bool) else "numbers"
    kind = _kind(column)
    if kind and kind != is_what:
        raise ValueError(f"the column has {kind}, of which {value!r} is none")
    return value


def _kind(column: pd.Series) -> str:
    """Return what a column has where it has something; empty for a mixture, or for nothing."""
    return "" if column.isna().all() else _KINDS.get(infer_dtype(column, skipna=True), "")


def _turn(condition: tuple[str, Any]) -> int:
    """Return when a condition's turn is: `largest` is of the rows that equalities leave, whatever is compared."""
    wanted = condition[1]
    if wanted == _LARGEST:
        return 1
    comparison = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    return 2 if comparison and comparison[1] != "==" else 0


def column_of(name: str, table: pd.DataFrame, column: str) -> str:
    """Return a column's name where the table has it. Raises ClaimError naming the nearest otherwise."""
    if column not in table:
        raise ClaimError(f"{name}: {unknown_name('column', column, table.columns)}")
    return column
