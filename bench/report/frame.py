"""Join records of speed and of quality into one row per configuration, scope, batch size and machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.records.machines import why_apart
from bench.records.schema import Record
from bench.records.store import to_frame
from bench.report.order import row_key
from bench.report.panels import SETTING, WORKLOAD, panels, with_shared
from bench.report.pareto import Point, standing
from bench.report.throughput import with_throughput
from bench.report.words import BEST_BATCH, runtime_of, series_name
from bench.sweep.baselines import BASELINES

CONFIGURATION = ["method", "schedule", "metric", "proportional", "order", "options", "excess", "attention"]
"""Columns that distinguish what is compared within a panel."""
MEASURED = ("ok", "noisy", "disturbed")
"""Statuses of records that contain measurements."""
_QUALITY = [
    *("dataset", "split", "clips", "ids_sha256", "clips_sha256", "classes", "classes_without_positives"),
    *("task", "skipped", "cut", "activation", "AUC", "d_prime", "top1_agreement", "score_name"),
    *(
        f"{delta}{name}{end}"
        for name in ("mAP", "accuracy", "score")
        for delta in ("", "delta_")
        for end in ("", "_low", "_high")
    ),
]
_TEXTS = ["dataset", "split", "task", "activation", "ids_sha256", "clips_sha256", "score_name"]
_NUMBERS = [
    *("r", "batch_size", "tokens_out", "macs_per_clip", "macs_ratio", "latency_ms"),
    *("real_time_factor", "delay_p50_ms", "delay_p95_ms"),
    *("clips_per_s_unmerged", "clips_per_s_plain"),
    *(f"speedup_{baseline}{end}" for baseline in BASELINES for end in ("", "_low", "_high")),
    *(name for name in _QUALITY if name not in _TEXTS),
]
_RESULTS = [name for name in _NUMBERS if name not in ("r", "batch_size", "tokens_out", "macs_per_clip", "macs_ratio")]
_RESULTS += ["peak_memory_bytes", "forward_memory_bytes", "kept_memory_bytes", "reserved_memory_bytes", "clips_per_s"]
_RESULTS += ["latency_p90_ms", "latency_p99_ms", "latency_iqr_ms", "energy_j_per_clip", "power_w"]


class ReportError(ValueError):
    """There is nothing to report, its form is unknown, or records cannot share one table."""


def join(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row for every configuration, scope, batch size and machine.

    A configuration of which only speed or only quality was measured keeps its row; what is missing is NaN, and `status`
    (of speed) and `quality_status` say whether it failed or was never requested (empty). Columns: those of
    `bench.records.columns`, the measure of the data set (see `_with_score`), both statuses, `runtime` (if not PyTorch,
    with its version), `batch_measured` (the batch size that ran, as `batch_size` is BEST_BATCH where the cell searched
    for it), what a panel shares (see `with_shared`), `throughput` with `_low` and `_high`, `compared_low` and
    `compared_high` (see `_with_compared`), the times at that throughput (see `with_throughput`), and `standing` on the
    Pareto front of its panel. Rows are sorted as tables show them.

    Rows that were `disturbed` are set apart: their numbers are shown, but neither the front nor the numbers of other
    rows depend on them.

    `throughput` is the speed-up over the unmerged model, from interleaved rounds, times the unmerged model's median
    throughput in the whole panel, so that the machine's drift from cell to cell cancels. Where engines share a panel
    and all of them timed the arm `plain`, it is the speed-up over that arm times the arm's median throughput.

    Training steps have no quality: the quality of a configuration is joined with the speed of its forward.

    Raises ReportError where two records claim one row, qualities of one machine are of different clips, or times under
    one key are of different machines or versions of PyTorch.
    """
    if words := why_apart(records):
        raise ReportError(f"report: {words}")
    frame = _with_score(_with_models(to_frame(records), records)).assign(runtime=[runtime_of(one) for one in records])
    keys = SETTING + CONFIGURATION
    # An unmerged model has no metric, order, ...: empty text joins, None would not.
    frame = frame.assign(**{key: frame[key].astype(object).where(frame[key].notna(), "") for key in keys})
    frame[_NUMBERS] = frame[_NUMBERS].apply(pd.to_numeric)
    frame = frame.copy()  # in one piece: pandas warns of frames with so many separate columns
    if (unusable := ~frame["status"].isin(MEASURED)).any():  # an implausible record has numbers that nobody may use
        frame.loc[unusable, _RESULTS] = math.nan
    frame["batch_measured"] = frame["batch_size"]
    frame["batch_size"] = frame["batch_size"].where(frame["batch"] != "best", BEST_BATCH)
    speed = _one_each(frame[frame["kind"] == "performance"], [*keys, *WORKLOAD])
    quality = _one_each(frame[frame["kind"] == "quality"], keys)
    _refuse_other_clips(quality)
    quality = quality.rename(columns={"status": "quality_status"})
    trained, speed = speed[speed["scope"] == "training_step"], speed[speed["scope"] != "training_step"]
    joined = speed.drop(columns=_QUALITY).merge(
        quality[[*keys, *_QUALITY, "quality_status"]], how="left", on=keys, validate="many_to_one"
    )
    joined = pd.concat([joined, trained.drop(columns=_QUALITY)], ignore_index=True) if len(trained) else joined
    alone = quality.merge(speed[keys].drop_duplicates(), how="left", on=keys, indicator=True)
    alone = alone[alone["_merge"] == "left_only"].reindex(columns=joined.columns)
    joined = pd.concat([joined, alone], ignore_index=True) if len(alone) else joined
    for name in ("status", "quality_status", "scope"):
        joined[name] = joined[name].astype(object).where(joined[name].notna(), "")
    joined = with_throughput(with_shared(joined.copy()))  # in one piece
    joined = _with_over_alone(_with_compared(joined))
    joined["standing"] = _standing(joined)
    setting = ["machine", "dtype", "engine", "scope", "batch_size"]
    by = [*setting, "method", "family", "order", "metric", "options", "attention", "r", "schedule"]
    return joined.sort_values(by, key=row_key, kind="stable").reset_index(drop=True)


def problems(records: Sequence[Record]) -> list[Record]:
    """Return the records that are not `ok`; reports list them."""
    return [record for record in records if record.status != "ok"]


def _with_models(frame: pd.DataFrame, records: Sequence[Record]) -> pd.DataFrame:
    """Fill in the model of records that failed before they knew it, from other records with the same weights."""
    asked = [record.cell.question.get("model", {}) for record in records]
    weights = pd.Series([model.get("sha256") for model in asked], index=frame.index, dtype=object)
    frame["sha256"] = frame["sha256"].astype(object).where(frame["sha256"].notna(), weights)
    named = frame.dropna(subset=["model"]).drop_duplicates("sha256").set_index("sha256")["model"].to_dict()
    names = [named.get(sha256, model.get("name", "")) for sha256, model in zip(frame["sha256"], asked, strict=True)]
    frame["model"] = frame["model"].astype(object).where(frame["model"].notna(), pd.Series(names, frame.index, object))
    return frame


def _with_score(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `score` (accuracy where clips have one label, else mAP), its interval and difference, and `score_name`."""
    single = frame["task"] == "single_label"
    for name in ("{}", "{}_low", "{}_high", "delta_{}", "delta_{}_low", "delta_{}_high"):
        accuracy, precision = (frame[name.format(metric)] for metric in ("accuracy", "mAP"))
        frame[name.format("score")] = accuracy.where(single, precision)
    frame["score_name"] = single.map({True: "accuracy", False: "mAP"}).where(frame["task"].notna(), None)
    return frame


def _one_each(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keep one row per key, a measured one if there is any. Raises ReportError where several were measured."""
    measured = frame["status"].isin(MEASURED)
    twins = frame[measured & frame[measured].duplicated(keys, keep=False).reindex(frame.index, fill_value=False)]
    if len(twins):
        first = twins.iloc[0]
        same = twins[(twins[keys] == first[keys]).all(axis=1)]
        raise ReportError(
            f"report: records {', '.join(_dated(row) for _, row in same.iterrows())} of sweep {first['sweep']!r} on "
            f"{first['machine']} claim one row, {first['kind']} of {series_name(first)} {first['schedule']}: the "
            "sweep, or its -s, was changed between them. Move the old ones out of the results, or give the sweep a new "
            "name (-s name=NAME)"
        )
    order = measured.sort_values(ascending=False, kind="stable").index
    return frame.loc[order].drop_duplicates(keys).sort_index()


def _dated(row: pd.Series) -> str:
    return f"{row['cell']}.json ({str(row['finished'])[:16]})"


def _refuse_other_clips(quality: pd.DataFrame) -> None:
    measured = quality[quality["status"].isin(MEASURED)]
    for machine, group in measured.groupby("machine"):
        seen = group.groupby(["dataset", "split", "clips", "ids_sha256"])["cell"].agg(list)
        if len(seen) > 1:
            told = "; ".join(
                f"{clips:.0f} clips of {dataset} {split} (ids {ids[:6]}): {len(cells)} records such as {cells[0]}"
                for (dataset, split, clips, ids), cells in seen.items()
            )
            raise ReportError(
                f"report: qualities of sweep {group['sweep'].iloc[0]!r} on {machine} are of different clips and cannot "
                f"be compared: {told}. Move the old records out of the results, or give the sweep a new name"
            )


def _with_compared(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the intervals in which qualities of a panel are compared, `compared_low` and `compared_high`, and `paired`.

    Where all rows of a panel have a paired difference to the unmerged model (`paired`), it is the interval of that
    difference, shifted to the row's score: all models saw the same clips, and what they have in common does not
    distinguish them. Otherwise, and where engines share a panel, it is the interval of the score itself.
    """
    for name in ("score", "delta_score"):  # in old records, an interval may not contain its value
        joined[f"{name}_low"] = joined[[f"{name}_low", name]].min(axis=1, skipna=False)
        joined[f"{name}_high"] = joined[[f"{name}_high", name]].max(axis=1, skipna=False)
    joined["paired"] = False
    for _, panel in panels(joined):
        known = panel[panel["score"].notna()]
        itself = known["method"] == "none"
        one = not known["setup"].any()  # engines have an unmerged model each, so no difference pairs all of them
        joined.loc[panel.index, "paired"] = bool(
            one and len(known) and (itself | known["delta_score_low"].notna()).all()
        )
    for end in ("low", "high"):
        moved = joined["score"] + (joined[f"delta_score_{end}"] - joined["delta_score"]).fillna(0)
        joined[f"compared_{end}"] = moved.where(joined["paired"], joined[f"score_{end}"])
    return joined


def _with_over_alone(joined: pd.DataFrame) -> pd.DataFrame:
    """Add the ratio of the time from waveforms to that of the model alone, with its interval: the inverse speed-up."""
    for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
        joined[f"over_alone{end}"] = 1 / joined[f"speedup_model_alone{other}"]
    return joined


def _standing(joined: pd.DataFrame) -> pd.Series:
    """Return the standing of every row with speed and quality towards the front of its panel, empty for others.

    A disturbed row has no standing and dominates no other.
    """
    words = pd.Series("", index=joined.index, dtype=object)
    words[joined["status"] == "disturbed"] = "disturbed"
    for _, panel in panels(joined[joined["status"] != "disturbed"]):
        whole = panel.dropna(subset=["throughput", "score"])
        points = [
            Point(
                throughput=row.throughput,
                quality=row.score,
                throughput_interval=(row.throughput_low, row.throughput_high),
                quality_interval=(row.compared_low, row.compared_high),
            )
            for row in whole.itertuples()
        ]
        words[whole.index] = standing(points)
    return words
