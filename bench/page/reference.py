"""What speeds and losses on the page refer to: one model in every panel, so that both can be required together."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.report.words import is_denominator, is_unmerged


def reference_of(panel: pd.DataFrame) -> pd.Series | None:
    """Return the row that all speeds and losses of a panel refer to: the unmerged model.

    Where engines share the panel, it is that of plain PyTorch. None where that was not fully measured: each engine's
    points then refer to its own.
    """
    for _, row in panel.iterrows():
        if not is_denominator(row) or pd.isna(row["throughput"]):
            continue
        if not row["setup"] or (row["engine"] == "plain" and row["speedup_plain"] == 1 and pd.notna(row["score"])):
            return row
    return None


def speeds_over(panel: pd.DataFrame, one: pd.Series | None) -> list[dict[str, float | None]]:
    """Return how many times as fast as the reference every row is; without one, as the same engine's unmerged model."""
    name = "speedup_plain" if one is not None and one["setup"] else "speedup_unmerged"
    found = []
    for _, row in panel.iterrows():
        itself = is_denominator(row) and pd.notna(row["throughput"]) and name == "speedup_unmerged"
        values: list[Any] = [1, None, None] if itself else [row[f"{name}{end}"] for end in ("", "_low", "_high")]
        found.append(dict(zip(("speed", "speed_low", "speed_high"), map(plain_number, values), strict=True)))
    return found


def differences_from(panel: pd.DataFrame, one: pd.Series | None) -> list[dict[str, float | None]]:
    """Return by how much every row's score differs from the reference's, with the interval where that is paired.

    `bar_low` and `bar_high`: ends of its error bar, as far from it as the interval's are from the difference to its own
    unmerged model.
    """
    found = []
    for _, row in panel.iterrows():
        own = [0.0, None, None] if is_unmerged(row) and pd.notna(row["score"]) else _ends(row, "delta_score")
        value, low, high = own
        elsewhere = one is not None and bool(one["setup"]) and row["setup"] != one["setup"]
        if elsewhere and one is not None:
            value = plain_number(row["score"] - one["score"])
        moved = None if value is None or own[0] is None else value - own[0]
        bars = [None if end is None or moved is None else end + moved for end in (low, high)]
        names = ("delta_score", "delta_score_low", "delta_score_high", "bar_low", "bar_high")
        found.append(dict(zip(names, [value, *((None, None) if elsewhere else (low, high)), *bars], strict=True)))
    return found


def _ends(row: pd.Series, name: str) -> list[float | None]:
    return [plain_number(row[f"{name}{end}"]) for end in ("", "_low", "_high")]


def plain_number(value: Any) -> float | None:
    """Return a number of a frame as JSON can hold it; None for a missing or infinite one."""
    return None if value is None or pd.isna(value) or math.isinf(value) else float(value)
