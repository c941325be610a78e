"""From the schema of an older record to the next one: what was not measured then is unknown now, never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Raw = dict[str, Any]

_GPU_MOMENT = ("graphics_clock_mhz", "memory_clock_mhz", "temperature_c", "throttle_reasons", "other_processes")


def _conditions_apart(raw: Raw) -> Raw:
    """1 -> 2: what a machine was like leaves what it is; arms know their batch size; gates and energy come."""
    machine = dict(raw["machine"])
    load = [machine.pop("load_before"), machine.pop("load_after")]
    before = None
    if machine["gpu"] is not None:
        gpu = dict(machine["gpu"])
        moment = {name: gpu.pop(name) for name in _GPU_MOMENT} | {"power_w": None}
        unread = dict.fromkeys(("cpu_clock_mhz", "cpu_quota_s", "cpu_thermal_events", "cpu_stolen_s"))
        machine["gpu"], before = gpu, unread | {"gpu": moment}
    conditions = {
        "load": load,
        "before": before,
        "after": None,
        "seconds": None,
        "gpu_clocks_mhz": [],
        "gpu_throttle_reasons": None,
    }
    model = raw["model"] and raw["model"] | {"macs_counted": None}
    quality = raw["quality"] and raw["quality"] | {"class_AUC": None}
    changed = {"machine": machine, "model": model, "quality": quality, "performance": _arms_with_batch(raw)}
    return raw | changed | {"schema_version": 2, "conditions": conditions, "gates": [], "engine": None}


def _arms_with_batch(raw: Raw) -> Raw | None:
    if raw["performance"] is None:
        return None
    part = dict(raw["performance"])
    batch_size = part.pop("batch_size")
    arms = {name: arm | {"batch_size": batch_size, "first_call_s": None} for name, arm in part["arms"].items()}
    return part | {"arms": arms, "search": None, "flushed_bytes": 0, "energy": None}


def _key_with_instructions(raw: Raw) -> Raw:
    """2 -> 3: the key of a CPU has the instruction set, which the record knew all along."""
    machine = dict(raw["machine"])
    if machine["device"] == "cpu":
        threads = f"-{machine['threads']}-threads"
        instructions = re.sub(r"[^a-z0-9]+", "-", raw["software"]["cpu_capability"].lower())
        machine["key"] = f"{machine['key'].removesuffix(threads)}-{instructions}{threads}"
    return raw | {"machine": machine, "schema_version": 3}


def _quality_of_any_data(raw: Raw) -> Raw:
    """3 -> 4: what was the only way to measure quality is said now: soundscapes, whole, by the sigmoid of outputs
    taken in the order in which they came."""
    part = raw["quality"]
    if part is None:
        return raw | {"schema_version": 4}
    single = {"accuracy": None, "accuracy_interval": None}
    only = {"task": "multi_label", "skipped": [], "cut": 0, "reading": {}, "activation": "sigmoid", "columns": None}
    delta = part["delta"] and part["delta"] | single
    return raw | {"schema_version": 4, "quality": part | single | only | {"delta": delta}}


def _disturbance(raw: Raw) -> Raw:
    """4 -> 5: what else went on is measured, what surrounds a forward is told; of older records nobody knows."""
    part = raw["performance"] and dict(raw["performance"])
    if part is not None:
        part["arms"] = {name: arm | {"load": None} for name, arm in part["arms"].items()}
        kept = {name: arm | {"after_bytes": None} for name, arm in part["memory"]["arms"].items()}
        part |= {"disturbance": None, "memory": part["memory"] | {"arms": kept}}
    return raw | {"performance": part, "surroundings": None, "attempt": 1, "schema_version": 5}


def _tokens_of_clips(raw: Raw) -> Raw:
    """5 -> 6: clips may have numbers of tokens of their own; before, all had the same."""
    part = raw["quality"] and raw["quality"] | {"clip_tokens": None}
    return raw | {"quality": part, "schema_version": 6}


def _loading(raw: Raw) -> Raw:
    """6 -> 7: what loading took is told beside what the model took; of older records nobody knows."""
    part = raw["quality"] and raw["quality"] | {"loading": None}
    return raw | {"quality": part, "schema_version": 7}


def _attention_of_steps(raw: Raw) -> Raw:
    """7 -> 8: attention of training steps is seen in a forward that learns; before, it was in one that does not."""
    part = raw["attention"]
    if part is not None and (raw["cell"]["question"].get("measure") or {}).get("scope") == "training_step":
        part = part | {"backend_ran": None}
    return raw | {"attention": part, "schema_version": 8}


def _generation(raw: Raw) -> Raw:
    """8 -> 9: a processor has a generation beside its name, and loads say how many threads ran; before, neither."""
    machine = raw["machine"] | {"cpu": raw["machine"]["cpu"] | {"generation": None}}
    part = raw["performance"] and dict(raw["performance"])
    if part:
        part["arms"] = {name: arm | {"load": _with_active(arm["load"])} for name, arm in part["arms"].items()}
    return raw | {"machine": machine, "performance": part, "schema_version": 9}


def _with_active(load: Raw | None) -> Raw | None:
    return load and load | {"active": [None] * len(load["own"])}


MIGRATIONS: Mapping[int, Callable[[Raw], Raw]] = {
    1: _conditions_apart,
    2: _key_with_instructions,
    3: _quality_of_any_data,
    4: _disturbance,
    5: _tokens_of_clips,
    6: _loading,
    7: _attention_of_steps,
    8: _generation,
}
"""From each older version, the function that makes the next one of it. It does not change what it is given."""
