"""Starting points of lines over r: their series with nothing removed, where that was measured."""

from __future__ import annotations

import pandas as pd

from bench.records.export import OWN_LENGTH, STRIDE
from bench.report.option_words import options_of
from bench.report.words import UNREDUCED, is_denominator, is_unmerged

_INPUT = (STRIDE, "length")
"""Options of the model rather than the reduction: they leave fewer tokens before any is removed."""


def removes_nothing(rows: pd.DataFrame) -> pd.Series:
    """Return which rows keep all tokens of their input: unmerged models, at their own stride and length or another."""
    return rows["method"].isin(["none", *UNREDUCED])


def start_of(panel: pd.DataFrame, line: pd.DataFrame) -> pd.Series | None:
    """Return the row of a panel that is the series `line` at r = 0, None where that was not measured.

    It has the stride, length, attention and engine of the series. If it is the denominator of speed-ups, its own is 1
    by definition; if it is the unmerged model, its difference in quality is 0.
    """
    asked = _setting(line.iloc[0])
    for _, row in panel[removes_nothing(panel)].iterrows():
        if _setting(row) != asked:
            continue
        start = row.copy()
        start["r"] = 0
        if is_denominator(row):
            start[["speedup_unmerged", "macs_ratio"]] = 1.0
            start[["speedup_unmerged_low", "speedup_unmerged_high"]] = float("nan")
        elif row["status"] == "disturbed" or pd.isna(row["speedup_unmerged"]):
            continue
        if is_unmerged(row):
            start["delta_score"] = 0.0
        return start
    return None


def _setting(row: pd.Series) -> tuple[str, ...]:
    options = options_of(str(row["options"] or ""))
    if row["method"] == STRIDE:
        options[STRIDE] = str(row["schedule"]).partition(":")[2]
    if row["method"] == OWN_LENGTH:
        options["length"] = "own"
    attention = "" if row["attention"] == "auto" else str(row["attention"])
    return (str(row["setup"]), attention, *(options.get(name, "") for name in _INPUT))
