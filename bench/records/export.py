"""The flat view of records: one row per record, columns as in `bench.records.columns`, from the raw samples only."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.measure.load import LoadColumns
from bench.measure.nvml import name_reasons
from bench.records.columns import COLUMNS
from bench.records.schema import Performance, Record
from bench.records.speedup import speedup_over
from bench.sweep.baselines import BASELINES, HOP_SECONDS
from fastast.statistics import MIN_ROUNDS, summarise

if TYPE_CHECKING:
    import pandas as pd


_COLUMNS = ("method", "schedule", "metric", "proportional", "order", "excess")
"""Keys of a reduction that have a column of their own."""
STRIDE = "stride"
"""Method and family of a model that is not reduced, but takes patches at another stride than its own."""
OWN_LENGTH = "own_length"
"""Method and family of a model that is not reduced, but runs shorter clips without padding."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, with the columns of `COLUMNS` in their order; intervals are seeded and repeatable."""
    return frame_of(map(row_of, records))


def frame_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a frame, with the columns of `COLUMNS` in their order."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def row_of(record: Record) -> dict[str, Any]:
    """Return a record's value for every column that it has one for."""
    row: dict[str, Any] = {
        "sweep": record.sweep,
        "cell": record.cell.id,
        "kind": record.cell.kind,
        "status": record.status,
        "message": record.message,
        "machine": record.machine.key,
        "device": record.machine.device,
        "device_name": record.machine.device_name,
        "threads": record.machine.threads,
        "instructions": record.software.cpu_capability if record.machine.device == "cpu" else None,
        "suite_version": record.suite.version,
        "commit": record.suite.commit,
        "dirty": record.suite.dirty,
        "torch": record.software.torch,
        "timm": record.software.timm,
        "cuda": record.software.cuda,
        "driver": record.machine.gpu.driver if record.machine.gpu else None,
        "gates": " ".join(gate.name for gate in record.gates if not gate.passed) or None,
        "throttled": name_reasons(record.conditions.gpu_throttle_reasons or 0) or None,
        "graphics_clock_mhz": median(record.conditions.gpu_clocks_mhz) if record.conditions.gpu_clocks_mhz else None,
        "load_before": record.conditions.load[0],
        "load_after": record.conditions.load[1],
        "started": record.started.isoformat(),
        "finished": record.finished.isoformat(),
    }
    if record.surroundings is not None:
        row |= {"allocator": record.surroundings.allocator, "freed_memory": record.surroundings.memory}
    if record.cell.kind == "performance":
        row["scope"] = record.cell.question.get("measure", {}).get("scope", "forward")
    row |= _question(record.cell.question) | _model(record) | _performance(record.performance)
    return row | _stream(record) | _quality(record)


def _question(question: dict[str, Any]) -> dict[str, Any]:
    reduction = question["reduction"] or {}
    others = {name: value for name, value in reduction.items() if name not in _COLUMNS}
    others |= {name: question["model"][name] for name in ("stride", "length") if name in question["model"]}
    method, schedule = reduction.get("method", "none"), reduction.get("schedule", "none")
    family, r = split_schedule(schedule)
    if not reduction and "stride" in others:  # fewer tokens from the start, as a method of its own
        method, schedule, family, r = STRIDE, f"{STRIDE}:{others.pop('stride')}", STRIDE, None
    elif not reduction and others.pop("length", None):
        method = schedule = family = OWN_LENGTH
    return {
        "method": method,
        "schedule": schedule,
        "family": family,
        "r": r,
        "metric": _text(reduction.get("metric")),
        "proportional": reduction.get("proportional"),
        "order": _text(reduction.get("order")),
        "options": shlex.join(f"{name}={value}" for name, value in sorted(others.items())),
        "excess": reduction.get("excess", "refuse") if reduction else None,
        "engine": question["model"].get("engine", "plain"),
        "dtype": question["dtype"],
        "attention": question["attention"],
        "batch": _text(question["workload"].get("batch_size")),
        "batch_size": _number(question["workload"].get("batch_size")),
    }


def split_schedule(schedule: str) -> tuple[str, int | None]:
    """Return family and `r` of a schedule's text: `linear:40:-0.5` -> (`linear:-0.5`, 40)."""
    name, *values = schedule.split(":")
    if name == "none":
        return "none", 0
    if name in ("constant", "decreasing", "increasing", "early", "late", "first", "linear"):
        return ":".join([name, *values[1:]]), int(values[0])
    return schedule, None


def _model(record: Record) -> dict[str, Any]:
    model, attention = record.model, record.attention
    row: dict[str, Any] = {}
    if model is not None:
        row |= {
            "model": model.name,
            "sha256": model.sha256,
            "weights": model.weights,
            "parameters": model.parameters,
            "tokens_in": model.tokens_in,
            "tokens_out": model.tokens_measured[-1],
            "tokens_per_block": " ".join(map(str, model.tokens_measured)),
            "macs_per_clip": model.macs_per_clip,
            "macs_counted": model.macs_counted,
            "macs_unmerged": model.macs_unmerged,
            "macs_ratio": model.macs_unmerged / model.macs_per_clip,
        }
    if attention is not None:
        row |= {"attention_kernel": attention.kernel, "attention_backend": attention.backend_ran}
    if record.engine is not None:
        row["engine_path"] = record.engine.path
    return row


def _performance(part: Performance | None) -> dict[str, Any]:
    if part is None:
        return {}
    candidate, memory = part.arms["candidate"], part.memory.arms["candidate"]
    summary = summarise(candidate.seconds)
    row: dict[str, Any] = {
        "batch_size": candidate.batch_size,
        "rounds": part.rounds,
        "rounds_repeated": len(part.disturbance.repeated) if part.disturbance else None,
        "noise": part.noise.value,
        "latency_ms": summary.median * 1e3,
        "latency_iqr_ms": summary.iqr * 1e3,
        "latency_p90_ms": summary.p90 * 1e3 if len(candidate.seconds) >= 10 else None,
        "latency_p99_ms": summary.p99 * 1e3 if len(candidate.seconds) >= 100 else None,
        "samples": len(candidate.seconds),
        "first_call_s": candidate.first_call_s,
        "clips_per_s": candidate.batch_size / summary.median,
        "peak_memory_bytes": memory.peak_bytes,
        "forward_memory_bytes": _difference(memory.peak_bytes, memory.before_bytes),
        "kept_memory_bytes": _difference(memory.after_bytes, memory.before_bytes),
        "memory_kind": part.memory.kind,
        "reserved_memory_bytes": memory.reserved_bytes,
    }
    for baseline in BASELINES:
        if baseline not in part.arms:
            continue
        arm = part.arms[baseline]
        middle = summarise(arm.seconds).median
        ratio = speedup_over(part, baseline)
        row |= {
            f"latency_{baseline}_ms": middle * 1e3,
            f"clips_per_s_{baseline}": arm.batch_size / middle,
            f"batch_size_{baseline}": arm.batch_size,
            f"speedup_{baseline}": ratio.value,
            f"speedup_{baseline}_low": ratio.low if part.rounds >= MIN_ROUNDS else None,
            f"speedup_{baseline}_high": ratio.high if part.rounds >= MIN_ROUNDS else None,
        }
    return row | _load(candidate.load) | _energy(part, candidate.batch_size)


def _stream(record: Record) -> dict[str, Any]:
    measured, part = record.cell.question.get("measure", {}), record.performance
    if part is None or measured.get("scope") != "stream":
        return {}
    hop = measured.get("hop_seconds", HOP_SECONDS)
    seconds = np.asarray(part.arms["candidate"].seconds)
    factor = float(np.median(seconds)) / hop
    unmerged = float(np.median(part.arms["unmerged"].seconds)) / hop
    row: dict[str, Any] = {"hop_s": hop, "real_time_factor": factor, "real_time_factor_unmerged": unmerged}
    if factor < 1:  # else the backlog of sound grows without end
        for percentile, least in ((50, 1), (95, 20), (99, 100)):
            enough = len(seconds) >= least
            row[f"delay_p{percentile}_ms"] = float(np.percentile(seconds, percentile)) * 1e3 if enough else None
    return row


def _load(load: LoadColumns | None) -> dict[str, Any]:
    if load is None:
        return {}
    columns = {"waited": load.waited, "others": load.others, "stolen": load.stolen}
    columns |= {"faults": load.faults, "system_share": load.system}
    return {name: _mean(values) for name, values in columns.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _energy(part: Performance, batch_size: int) -> dict[str, Any]:
    if part.energy is None:
        return {}
    row: dict[str, Any] = {"energy_source": part.energy.source}
    if "candidate" in part.energy.arms:
        arm = part.energy.arms["candidate"]
        row |= {
            "energy_j_per_clip": arm.joules / (arm.forwards * batch_size),
            "power_w": arm.joules / arm.seconds,
        }
    return row


def _text(value: int | str | None) -> str | None:
    return None if value is None else str(value)


def _number(value: int | str | None) -> int | None:
    return value if isinstance(value, int) else None


def _difference(peak: int | None, before: int | None) -> int | None:
    return None if peak is None or before is None else peak - before


def _quality(record: Record) -> dict[str, Any]:
    part = record.quality
    if part is None:
        return {}
    clips = ("dataset", "split", "task", "clips", "cut", "ids_sha256", "clips_sha256", "classes")
    scores = ("activation", "classes_without_positives", "mAP", "AUC", "d_prime", "accuracy")
    row: dict[str, Any] = {name: getattr(part, name) for name in (*clips, *scores)} | {"skipped": len(part.skipped)}
    row["mAP_low"], row["mAP_high"] = part.mAP_interval
    row["accuracy_low"], row["accuracy_high"] = part.accuracy_interval or (None, None)
    if part.delta is not None:
        delta = part.delta
        row |= {"delta_mAP": delta.mAP, "delta_accuracy": delta.accuracy, "top1_agreement": delta.top1_agreement}
        row["delta_mAP_low"], row["delta_mAP_high"] = delta.interval
        row["delta_accuracy_low"], row["delta_accuracy_high"] = delta.accuracy_interval or (None, None)
    return row
