"""The flat view of records: one row a record, a fixed order of columns, computed from the raw samples only.

`COLUMNS` names every column with what it holds. A column that does not apply (a quality column of a
performance cell, anything measured of a failed cell) is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.axes import BASELINES
from bench.nvml import name_reasons
from bench.records import Performance, Record
from bench.speedup import speedup_over
from bench.statistics import summarise

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, str] = {
    "sweep": "name of the sweep",
    "cell": "id of the cell",
    "kind": "performance or quality",
    "scope": "what was timed: forward, waveform (front end too) or training_step; empty for quality",
    "status": "ok, noisy, implausible, error, oom, timeout",
    "message": "what went wrong",
    "machine": "key of the machine",
    "device": "cpu or cuda",
    "device_name": "full name of the device",
    "threads": "CPU threads that PyTorch used",
    "model": "name of the zoo or of the checkpoint file",
    "sha256": "of the checkpoint",
    "weights": "trained or random",
    "parameters": "of the model",
    "method": "reduction method, none for the unmerged model",
    "schedule": "the whole schedule, such as decreasing:40; none for the unmerged model",
    "family": "the schedule without r: constant, decreasing, ...; none for the unmerged model",
    "r": "mean tokens removed per block, 0 for the unmerged model, empty where the schedule has no r",
    "metric": "what tokens are compared by",
    "proportional": "whether attention weighs tokens by their size",
    "order": "order of the tokens that stay",
    "excess": "what became of an r that a block has too few tokens for: refuse or cap",
    "dtype": "of weights and activations",
    "engine": "what runs the model: plain, or triton where it was compiled",
    "engine_path": "what then ran: triton, or plain where the kernels could not; empty without an engine",
    "attention": "kernel asked for",
    "attention_kernel": "kernel that this meant",
    "attention_backend": "backend of PyTorch that ran",
    "tokens_in": "tokens that enter the first block",
    "tokens_out": "tokens that left the last block",
    "tokens_per_block": "tokens that left each block as measured, separated by spaces",
    "macs_per_clip": "multiply-accumulates of one clip, by formula",
    "macs_counted": "the same as PyTorch counts them, operator by operator",
    "macs_unmerged": "those of the unmerged model",
    "macs_ratio": "macs_unmerged / macs_per_clip: what a reduction can gain where time goes into products",
    "batch": "clips a batch as asked for; best where every arm has its own",
    "batch_size": "clips a batch as measured",
    "rounds": "interleaved rounds measured",
    "noise": "relative inter-quartile range of the per-round ratio",
    "latency_ms": "median time of one batch, ms",
    "latency_iqr_ms": "its inter-quartile range, ms",
    "latency_p90_ms": "its 90th percentile, ms; empty below 10 samples",
    "latency_p99_ms": "its 99th percentile, ms; empty below 100 samples",
    "samples": "timed runs of the candidate",
    "first_call_s": "the candidate's very first call, s: compilation, capture, set-up",
    "clips_per_s": "batch_size / median time",
    "peak_memory_bytes": "the most memory taken during a run, see memory_kind",
    "forward_memory_bytes": "what a run took on top of what was taken before",
    "memory_kind": "what these were read from",
    "reserved_memory_bytes": "the most that CUDA's allocator held; empty on a CPU",
    "energy_source": "NVML, RAPL or unavailable",
    "energy_j_per_clip": "joules a clip, idle power included; empty where unavailable",
    "power_w": "mean power meanwhile, W",
    **{
        f"{column}_{baseline}{end}": text
        for baseline in BASELINES
        for column, end, text in (
            ("latency", "_ms", f"median time of one batch of {baseline}, ms, measured in the same rounds"),
            ("clips_per_s", "", f"throughput of {baseline}"),
            ("batch_size", "", f"clips a batch of {baseline}"),
            ("speedup", "", f"median time a clip of {baseline} / that of the candidate"),
            ("speedup", "_low", "lower end of its 95 % bootstrap interval"),
            ("speedup", "_high", "upper end of its 95 % bootstrap interval"),
        )
    },
    "dataset": "data set",
    "split": "its split",
    "clips": "clips scored",
    "ids_sha256": "hash of the list of clip ids",
    "clips_sha256": "hash of the clips",
    "classes": "classes of the data set",
    "classes_without_positives": "classes left out of the means",
    "mAP": "macro mean average precision",
    "mAP_low": "lower end of its 95 % bootstrap interval over clips",
    "mAP_high": "upper end of its 95 % bootstrap interval over clips",
    "AUC": "macro mean area under the ROC curve",
    "d_prime": "sqrt(2) times the normal quantile of AUC",
    "delta_mAP": "mAP minus that of the unmerged model on the same clips",
    "delta_mAP_low": "lower end of its paired 95 % bootstrap interval",
    "delta_mAP_high": "upper end of its paired 95 % bootstrap interval",
    "top1_agreement": "share of clips whose best class is that of the unmerged model",
    "suite_version": "version of FastAST",
    "commit": "git commit that measured",
    "dirty": "whether the code differed from it",
    "torch": "version of PyTorch",
    "timm": "version of timm",
    "cuda": "version of CUDA",
    "driver": "version of the GPU driver",
    "gates": "gates that did not pass, separated by spaces; empty where all passed or none was looked at",
    "throttled": "why the GPU's clock was lowered at the end of some round",
    "graphics_clock_mhz": "median clock of the GPU at the ends of rounds, MHz",
    "load_before": "load average before the cell",
    "load_after": "load average after the cell",
    "started": "UTC",
    "finished": "UTC",
}


def to_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row a record, with the columns of `COLUMNS` in their order; intervals are seeded and repeatable."""
    import pandas as pd

    return pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))


def write_csv(records: Sequence[Record], path: Path) -> None:
    """Write the rows of `records` to `path`, atomically."""
    from fastast.writing import write_whole

    write_whole(path, to_frame(records).to_csv(index=False, lineterminator="\n").encode())


def _row(record: Record) -> dict[str, Any]:
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
    if record.cell.kind == "performance":
        row["scope"] = record.cell.question.get("measure", {}).get("scope", "forward")
    return row | _question(record.cell.question) | _model(record) | _performance(record.performance) | _quality(record)


def _question(question: dict[str, Any]) -> dict[str, Any]:
    reduction = question["reduction"] or {}
    family, r = split_schedule(reduction.get("schedule", "none"))
    return {
        "method": reduction.get("method", "none"),
        "schedule": reduction.get("schedule", "none"),
        "family": family,
        "r": r,
        "metric": reduction.get("metric"),
        "proportional": reduction.get("proportional"),
        "order": reduction.get("order"),
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
    if name in ("constant", "decreasing", "increasing", "linear"):
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
            f"speedup_{baseline}_low": ratio.low,
            f"speedup_{baseline}_high": ratio.high,
        }
    return row | _energy(part, candidate.batch_size)


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
    names = ("dataset", "split", "clips", "ids_sha256", "clips_sha256", "classes", "classes_without_positives")
    row: dict[str, Any] = {name: getattr(part, name) for name in (*names, "mAP", "AUC", "d_prime")}
    row["mAP_low"], row["mAP_high"] = part.mAP_interval
    if part.delta is not None:
        row |= {"delta_mAP": part.delta.mAP, "top1_agreement": part.delta.top1_agreement}
        row["delta_mAP_low"], row["delta_mAP_high"] = part.delta.interval
    return row
