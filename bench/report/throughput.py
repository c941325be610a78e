"""Compute throughput from ratios of interleaved rounds, so that a machine's drift from cell to cell cancels.

Times of one batch are scaled alike: the latency and, for a stream, the delay and the real-time factor.
"""

from __future__ import annotations

import math

import pandas as pd

from bench.report.panels import SETTING, WORKLOAD, panels
from bench.report.words import is_denominator
from bench.sweep.engines import ASKED_ATTENTION


def with_throughput(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the throughput of every row, in clips per second, and the `latency` at it, in milliseconds per batch.

    For a stream, also add `real_time`, in seconds of computing per second of sound, and `delay_p50` and `delay_p95`, in
    milliseconds, at that throughput: they keep the ratio to the latency that they have in the cell's own samples.
    """
    trusted = joined["clips_per_s_unmerged"].where(joined["status"] != "disturbed")
    attention = joined["attention"].where(joined["engine"].isin(ASKED_ATTENTION), "")
    groups = [*(joined[name] for name in (*SETTING, *WORKLOAD)), attention]
    reference = trusted.groupby(groups, dropna=False).transform("median")
    alone = joined["clips_per_s_unmerged"].groupby(groups, dropna=False).transform("median")
    reference = reference.fillna(alone)  # where all of a panel was disturbed
    for end in ("", "_low", "_high"):
        joined[f"throughput{end}"] = joined[f"speedup_unmerged{end}"] * reference
    # The unmerged model's speed-up over itself is 1, whatever was measured.
    same = joined.apply(is_denominator, axis=1).astype(bool) & joined["throughput"].notna()
    joined.loc[same, "throughput"] = reference[same]
    joined.loc[same, "throughput_low"] = joined.loc[same, ["throughput", "throughput_low"]].min(axis=1)
    joined.loc[same, "throughput_high"] = joined.loc[same, ["throughput", "throughput_high"]].max(axis=1)
    for _, panel in panels(joined):
        if panel["setup"].any():
            joined = _over_plain(joined, panel)
    # The latency as measured would contradict the throughput beside it.
    joined["latency"] = (1e3 * joined["batch_measured"] / joined["throughput"]).fillna(joined["latency_ms"])
    drift = joined["latency"] / joined["latency_ms"]
    for name, raw in (("real_time", "real_time_factor"), *((f"delay_{p}", f"delay_{p}_ms") for p in ("p50", "p95"))):
        joined[name] = joined[raw] * drift
    return joined


def _over_plain(joined: pd.DataFrame, panel: pd.DataFrame) -> pd.DataFrame:
    """Set the throughputs of a panel of several engines by the arm `plain`, if all of them timed it."""
    timed = panel[panel["throughput"].notna()]
    itself = timed["engine"] == "plain"
    fed = timed["dtype"].replace("int8", "float32")  # the dtype of the arm `plain`
    if fed.nunique() != 1 or timed.loc[~itself, "speedup_plain"].isna().any():
        return joined
    reference = timed["clips_per_s_plain"].where(~itself, timed["clips_per_s_unmerged"])
    trusted = reference[timed["status"] != "disturbed"]
    middle = (trusted if len(trusted) else reference).median()
    for end in ("", "_low", "_high"):
        over = timed[f"speedup_plain{end}"].where(~itself, timed[f"speedup_unmerged{end}"])
        joined.loc[timed.index, f"speedup_plain{end}"] = over
        joined.loc[timed.index, f"throughput{end}"] = over * middle
    start = timed.index[itself & timed.apply(is_denominator, axis=1).astype(bool)]
    joined.loc[start, ["speedup_plain", "throughput"]] = 1.0, middle
    joined.loc[start, ["speedup_plain_low", "speedup_plain_high"]] = math.nan
    for end, furthest in (("low", "min"), ("high", "max")):
        columns = ["throughput", f"throughput_{end}"]
        joined.loc[start, f"throughput_{end}"] = joined.loc[start, columns].agg(furthest, axis=1)
    return joined
