"""Bring a record of an older schema to the next one: what was not measured then stays unknown and is never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Raw = dict[str, Any]

_GPU_MOMENT = ("graphics_clock_mhz", "memory_clock_mhz", "temperature_c", "throttle_reasons", "other_processes")


def _conditions_apart(raw: Raw) -> Raw:
    """1 -> 2: conditions move out of the machine; arms get their batch size; gates, engine, search and energy begin."""
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
    """2 -> 3: the key of a CPU gets its instruction set, which the record held already."""
    machine = dict(raw["machine"])
    if machine["device"] == "cpu":
        threads = f"-{machine['threads']}-threads"
        instructions = re.sub(r"[^a-z0-9]+", "-", raw["software"]["cpu_capability"].lower())
        machine["key"] = f"{machine['key'].removesuffix(threads)}-{instructions}{threads}"
    return raw | {"machine": machine, "schema_version": 3}


def _quality_of_any_data(raw: Raw) -> Raw:
    """3 -> 4: records state what used to be the only way to measure quality: whole soundscapes, scored by the sigmoid
    of the outputs in their own order."""
    part = raw["quality"]
    if part is None:
        return raw | {"schema_version": 4}
    single = {"accuracy": None, "accuracy_interval": None}
    only = {"task": "multi_label", "skipped": [], "cut": 0, "reading": {}, "activation": "sigmoid", "columns": None}
    delta = part["delta"] and part["delta"] | single
    return raw | {"schema_version": 4, "quality": part | single | only | {"delta": delta}}


def _disturbance(raw: Raw) -> Raw:
    """4 -> 5: disturbances and surroundings are recorded; for older records they are unknown."""
    part = raw["performance"] and dict(raw["performance"])
    if part is not None:
        part["arms"] = {name: arm | {"load": None} for name, arm in part["arms"].items()}
        kept = {name: arm | {"after_bytes": None} for name, arm in part["memory"]["arms"].items()}
        part |= {"disturbance": None, "memory": part["memory"] | {"arms": kept}}
    return raw | {"performance": part, "surroundings": None, "attempt": 1, "schema_version": 5}


def _tokens_of_clips(raw: Raw) -> Raw:
    """5 -> 6: clips may differ in their number of tokens; before, all had the same."""
    part = raw["quality"] and raw["quality"] | {"clip_tokens": None}
    return raw | {"quality": part, "schema_version": 6}


def _loading(raw: Raw) -> Raw:
    """6 -> 7: loading times are recorded; for older records they are unknown."""
    part = raw["quality"] and raw["quality"] | {"loading": None}
    return raw | {"quality": part, "schema_version": 7}


def _attention_of_steps(raw: Raw) -> Raw:
    """7 -> 8: the attention of training steps is observed in a training forward; before, it was one of inference."""
    part = raw["attention"]
    if part is not None and (raw["cell"]["question"].get("measure") or {}).get("scope") == "training_step":
        part = part | {"backend_ran": None}
    return raw | {"attention": part, "schema_version": 8}


def _generation(raw: Raw) -> Raw:
    """8 -> 9: a processor's generation and the number of active threads are recorded; for older records both are
    unknown."""
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
"""Function that turns a record of each older version into one of the next; it does not change its argument."""
