"""Order of rows in tables."""

from __future__ import annotations

import re

import pandas as pd


def row_key(column: pd.Series) -> pd.Series:
    """Return sort keys that put the unmerged model, `none`, first and compare numbers in texts by value."""
    if not pd.api.types.is_string_dtype(column.dtype):  # object, or the text of pandas 3
        return column
    return column.where(column != "none", "").map(_with_wide_numbers, na_action="ignore")


def _with_wide_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", lambda found: f"{float(found.group()):020.6f}", str(text))
