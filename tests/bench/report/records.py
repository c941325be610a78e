"""Records for the report's tests, clearly synthetic: an imaginary machine with invented times."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from bench.records.schema import Record

TOKENS = {"none": 602, "constant:20": 362, "constant:40": 122, "decreasing:20": 367, "decreasing:40": 127}
"""Tokens that leave the last block."""


def record(
    kind: str,
    schedule: str = "none",
    *,
    batch_size: int | str = 8,
    seconds: float = 1.0,
    unmerged: float = 1.0,
    sliced: float | None = None,
    quality: float = 0.5,
    delta: float | None = None,
    machine: str = "abacus",
    status: str = "ok",
    message: str = "",
    rounds: int = 5,
    clips: int = 10,
    attention: str = "auto",
    scope: str = "forward",
    alone: float | None = None,
    plain_tome: float | None = None,
    engine: str = "plain",
    dtype: str = "float32",
    plain: float | None = None,
    accuracy: float | None = None,
) -> Record:
    """One record; times are seconds a batch, with a hair of spread so that intervals are not points."""
    reduction = None
    if schedule != "none":
        reduction = {"method": "tome", "schedule": schedule, "metric": "keys", "proportional": True, "order": "tome"}
    arms = {"candidate": seconds, "unmerged": unmerged} | ({"slice": sliced} if sliced else {})
    arms |= {"model_alone": alone} if alone else {}
    arms |= {"tome_plain": plain_tome} if plain_tome else {}
    arms |= {"plain": plain} if plain else {}
    spread = [1 + 0.001 * (i - rounds // 2) for i in range(rounds)]
    raw: dict[str, Any] = {
        "schema_version": 9,
        "attempt": 1,
        "surroundings": None,
        "cell": {
            "id": hashlib.sha256(
                f"{kind} {schedule} {batch_size} {machine} {clips} {attention} {seconds} {scope} {engine} "
                f"{dtype}".encode()
            ).hexdigest()[:12],
            "kind": kind,
            "question": {
                "model": {"sha256": "ab"} | ({"engine": engine} if engine != "plain" else {}),
                "reduction": reduction,
                "dtype": dtype,
                "attention": attention,
                "workload": {"batch_size": batch_size} if kind == "performance" else {},
            }
            | ({"measure": {"scope": scope}} if scope != "forward" else {}),
        },
        "sweep": "invented",
        "status": status,
        "message": message,
        "started": datetime(2026, 1, 1, tzinfo=UTC),
        "finished": datetime(2026, 1, 2, tzinfo=UTC),
        "command": ("python",),
        "suite": {"version": "0", "commit": "c0ffee", "dirty": False},
        "machine": {
            "key": machine,
            "device": "cpu",
            "device_name": machine.title(),
            "cpu": {"model": machine, "physical_cores": 2, "logical_cores": 2, "governor": None, "generation": None},
            "gpu": None,
            "threads": 2,
            "memory_bytes": 1,
        },
        "software": {
            **dict.fromkeys(("python", "os", "kernel", "torch", "blas"), "1"),
            "cpu_capability": "AVX512",
            **dict.fromkeys(("torchvision", "timm", "numpy", "scipy", "scikit_learn", "cuda", "cudnn")),
            "onednn": True,
            "float32_matmul_precision": "highest",
            **dict.fromkeys(("tf32_cudnn", "cudnn_benchmark", "deterministic"), False),
        },
        "conditions": {
            "load": (0.0, 0.0),
            **dict.fromkeys(("before", "after", "seconds", "gpu_throttle_reasons")),
            "gpu_clocks_mhz": (),
        },
        "gates": (),
        "model": {
            "name": "model_with_underscores",
            "sha256": "ab",
            "weights": "trained",
            "parameters": 1,
            "geometry": {},
            "tokens_in": 602,
            "tokens_planned": (TOKENS[schedule],),
            "tokens_measured": (TOKENS[schedule],),
            "macs_per_clip": 4_000_000_000 * TOKENS[schedule] // 602,
            "macs_counted": None,
            "macs_unmerged": 4_000_000_000,
        },
        "attention": {"asked": attention, "kernel": "mask", "backend_ran": "flash_cpu"},
        "engine": None,
        "performance": None,
        "quality": None,
    }
    if status in ("error", "oom", "timeout"):
        raw["model"] = raw["attention"] = None
    elif kind == "performance":
        raw["performance"] = {
            "clock": "invented",
            "input": "none",
            "search": None,
            "flushed_bytes": 0,
            "energy": None,
            "warmup": {"rule": "none", "iterations": {}, "stable": {}},
            "noise": {"value": 0.0, "limit": 0.1, "attempts": (0.0,)},
            "disturbance": None,
            "rounds": rounds,
            "arms": {
                name: {"seconds": tuple(value * s for s in spread), "iterations_per_round": 1}
                | {"first_call_s": None, "load": None}
                | {"batch_size": batch_size if isinstance(batch_size, int) else 16}
                for name, value in arms.items()
            },
            "memory": {
                "kind": "none",
                "arms": {
                    name: dict.fromkeys(("before_bytes", "peak_bytes", "after_bytes", "reserved_bytes"))
                    for name in arms
                },
            },
        }
    else:
        raw["quality"] = {
            **dict.fromkeys(("dataset", "split", "ids_sha256", "clips_sha256"), "invented"),
            **{
                "clips": clips,
                "matches_reference": True,
                "classes": 3,
                "classes_without_positives": 0,
                "replicates": 9,
            },
            **{"mAP": quality, "mAP_interval": (quality - 0.02, quality + 0.02), "AUC": 0.9, "d_prime": 1.0},
            **{"AP": {}, "seconds": 1.0, "delta": None, "class_AUC": None, "clip_tokens": None, "loading": None},
            **{
                "task": "multi_label" if accuracy is None else "single_label",
                "skipped": (),
                "cut": 0,
                "reading": {},
                "activation": "sigmoid",
                "columns": None,
            },
            **{"accuracy": accuracy, "accuracy_interval": accuracy and (accuracy - 0.02, accuracy + 0.02)},
        }
        if delta is not None:
            raw["quality"]["delta"] = {
                **{"mAP": delta, "interval": (delta - 0.001, delta + 0.001), "against": "0"},
                **{"top1_agreement": 1.0, "largest_score_difference": 0.0},
                **{
                    "accuracy": None if accuracy is None else 2 * delta,
                    "accuracy_interval": None if accuracy is None else (2 * delta - 0.002, 2 * delta + 0.002),
                },
            }
    return Record.model_validate(raw)


def sweep(machine: str = "abacus") -> list[Record]:
    """Three configurations and the unmerged model. `constant:20` is beaten by `constant:40` in everything."""
    found = [record("quality", quality=0.50, machine=machine)]
    for schedule, quality in (("constant:20", 0.48), ("constant:40", 0.49), ("decreasing:40", 0.47)):
        found.append(record("quality", schedule, quality=quality, delta=quality - 0.50, machine=machine))
    for batch_size in (1, 8):
        fixed = {"batch_size": batch_size, "machine": machine}
        found.append(record("performance", **fixed))
        found.append(record("performance", "constant:20", seconds=0.8, sliced=0.75, **fixed))
        # This one ran while the machine was half as fast.
        found.append(record("performance", "constant:40", seconds=1.0, unmerged=2.0, sliced=0.9, **fixed))
        found.append(record("performance", "decreasing:40", seconds=0.4, sliced=0.4, **fixed))
    return found
