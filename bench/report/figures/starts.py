"""Where lines over r start: at what their series is without removing anything, if that was measured."""

from __future__ import annotations

import pandas as pd

from bench.records.export import OWN_LENGTH, STRIDE
from bench.report.option_words import options_of
from bench.report.words import UNREDUCED, is_denominator, is_unmerged

_INPUT = (STRIDE, "length")
"""Options of the model, not of the reduction: they make fewer tokens before anything is removed."""


def removes_nothing(rows: pd.DataFrame) -> pd.Series:
    """Return which rows have all tokens of their input: the unmerged model, at its own stride and length or another."""
    return rows["method"].isin(["none", *UNREDUCED])


def start_of(panel: pd.DataFrame, line: pd.DataFrame) -> pd.Series | None:
    """Return the row of a panel that the series `line` is at r = 0, None where that was not measured.

    It has the stride, the length, the attention and the engine of the series. What speed-ups are over is 1 by
    definition, and its difference in quality 0.
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
