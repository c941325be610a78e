"""Select the rows of a table that a query means, by its `where`, column by column."""

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
"""Kinds of columns, by the types that pandas infers."""


def chosen_rows(name: str, number: Quantity, table: pd.DataFrame) -> pd.Series:
    """Return which rows a number comes from, as booleans. Raises ClaimError for a column or value that cannot exist."""
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
    """Return which rows of a column match; a missing value neither equals nor differs from anything.

    Raises ValueError if words are compared with numbers, or numbers with words.
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
    """Return the value that a comparison's text means for a column. Raises ValueError for a word among numbers."""
    kind = _kind(column)
    return float(text) if kind == "numbers" else _BOOLEANS.get(text, text) if kind == "true and false" else text


def _of_its_kind(column: pd.Series, value: str | float | bool) -> str | float | bool:
    """Return the value if a column of this kind can have it, whether any row does or not. Raises ValueError if not."""
    is_what = "words" if isinstance(value, str) else "true and false" if isinstance(value, bool) else "numbers"
    kind = _kind(column)
    if kind and kind != is_what:
        raise ValueError(f"the column has {kind}, and {value!r} is not one of them")
    return value


def _kind(column: pd.Series) -> str:
    """Return the kind of a column's values; empty for a mixture, or for a column without values."""
    return "" if column.isna().all() else _KINDS.get(infer_dtype(column, skipna=True), "")


def _turn(condition: tuple[str, Any]) -> int:
    """Return the order in which a condition is applied: equalities, then `largest`, then other comparisons."""
    wanted = condition[1]
    if wanted == _LARGEST:
        return 1
    comparison = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    return 2 if comparison and comparison[1] != "==" else 0


def column_of(name: str, table: pd.DataFrame, column: str) -> str:
    """Return a column's name if the table has it. Otherwise raises ClaimError, naming the nearest one."""
    if column not in table:
        raise ClaimError(f"{name}: {unknown_name('column', column, table.columns)}")
    return column
