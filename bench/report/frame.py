"""Records of speed and records of quality, joined: one row a configuration, batch size and machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.pareto import Point, standing
from bench.records import Record
from bench.store import to_frame

SETTING = ["machine", "sha256", "model", "dtype", "attention"]
"""What all rows of a panel share, beside the batch size."""
CONFIGURATION = ["method", "schedule", "metric", "proportional", "order"]
"""What is compared within a panel."""
MEASURED = ("ok", "noisy")
"""Records with numbers in them."""
_QUALITY = [
    *("dataset", "split", "clips", "classes", "classes_without_positives", "mAP", "mAP_low", "mAP_high", "AUC"),
    *("delta_mAP", "delta_mAP_low", "delta_mAP_high", "top1_agreement"),
]


def join(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row for every measured configuration, batch size and machine.

    A configuration of which only speed or only quality was measured keeps its row; what is missing is NaN. Columns:
    those of `bench.store.COLUMNS`, `throughput` with `throughput_low` and `throughput_high`, and `standing` on the
    Pareto front of its panel. Rows are sorted as tables show them.

    `throughput` is the speed-up over the unmerged model, from interleaved rounds, times the unmerged model's median
    throughput in the whole panel: a machine that was slower for one cell than for the next drops out.
    """
    frame = to_frame(records)
    measured = frame[frame["status"].isin(MEASURED)]
    # An unmerged model has no metric, order, ...: a word joins where None would not.
    keys = SETTING + CONFIGURATION
    measured = measured.assign(**{key: measured[key].astype(object).where(measured[key].notna(), "") for key in keys})
    speed = measured[measured["kind"] == "performance"].drop(columns=_QUALITY)
    quality = measured.loc[measured["kind"] == "quality", keys + _QUALITY]
    joined = speed.merge(quality, how="left", on=keys, validate="many_to_one")
    alone = measured[measured["kind"] == "quality"].merge(speed[keys].drop_duplicates(), how="left", indicator=True)
    joined = pd.concat([joined, alone[alone["_merge"] == "left_only"][list(joined.columns)]], ignore_index=True)
    joined = _with_throughput(joined)
    joined["standing"] = _standing(joined)
    by = ["machine", "dtype", "attention", "batch_size", "method", "family", "order", "metric", "r"]
    return joined.sort_values(by, key=_none_first, kind="stable").reset_index(drop=True)


def panels(joined: pd.DataFrame) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Return the groups of rows that can be compared: one a machine, model, dtype, attention and batch size."""
    return list(joined.groupby([*SETTING, "batch_size"], sort=True, dropna=False))


def problems(records: Sequence[Record]) -> list[Record]:
    """Return the records that are not `ok`, which a report lists."""
    return [record for record in records if record.status != "ok"]


def _with_throughput(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the throughput of every row, in clips a second, free of the machine's drift from cell to cell."""
    reference = joined.groupby([*SETTING, "batch_size"])["clips_per_s_unmerged"].transform("median")
    for end in ("", "_low", "_high"):
        joined[f"throughput{end}"] = joined[f"speedup_unmerged{end}"] * reference
    same = joined["method"] == "none"
    joined.loc[same, "throughput"] = reference[same]  # its speed-up over itself is 1, whatever was measured
    joined.loc[same, "throughput_low"] = joined.loc[same, ["throughput", "throughput_low"]].min(axis=1)
    joined.loc[same, "throughput_high"] = joined.loc[same, ["throughput", "throughput_high"]].max(axis=1)
    return joined


def _standing(joined: pd.DataFrame) -> pd.Series:
    """Return how every row with speed and quality stands on the front of its panel, empty for others."""
    words = pd.Series("", index=joined.index, dtype=object)
    for _, panel in panels(joined):
        whole = panel.dropna(subset=["throughput", "mAP"])
        points = [
            Point(
                throughput=row.throughput,
                quality=row.mAP,
                throughput_interval=(row.throughput_low, row.throughput_high),
                quality_interval=(row.mAP_low, row.mAP_high),
            )
            for row in whole.itertuples()
        ]
        words[whole.index] = standing(points)
    return words


def _none_first(column: pd.Series) -> pd.Series:
    """Sort the unmerged model, `none`, before all methods and schedules."""
    return column.where(column != "none", "") if column.dtype == object else column
