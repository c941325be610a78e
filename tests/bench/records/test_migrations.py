"""Records of older schemas are read as today's: nothing lost, nothing invented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.records.export import to_frame
from bench.records.migrations import MIGRATIONS
from bench.records.schema import SCHEMA_VERSION
from bench.records.store import RecordError, read_record, read_records
from bench.sweep.cells import canonical
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep

OLD = Path(__file__).parent / "old_records"
"""As they were written, with fewer rounds and classes."""
RESULTS = Path(__file__).parents[3] / "results"


def raw(name: str) -> dict:
    return json.loads((OLD / name).read_text())


def test_there_is_a_way_from_every_version_to_the_present_one():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_performance_record_of_schema_1_keeps_its_samples_and_load():
    old, new = raw("v1_performance.json"), read_record(OLD / "v1_performance.json")
    part = old["performance"]
    assert new.schema_version == SCHEMA_VERSION
    assert new.machine.cpu.generation is None
    assert new.conditions.load == (old["machine"]["load_before"], old["machine"]["load_after"])
    assert set(new.performance.arms) == set(part["arms"])
    for name, arm in new.performance.arms.items():
        assert list(arm.seconds) == part["arms"][name]["seconds"]
        assert arm.batch_size == part["batch_size"]
    row = to_frame([new]).iloc[0]
    medians = {name: np.median(arm["seconds"]) for name, arm in part["arms"].items()}
    assert row["clips_per_s"] == pytest.approx(part["batch_size"] / medians["candidate"])


def test_what_schema_1_did_not_know_is_unknown_now():
    new = read_record(OLD / "v1_performance.json")
    assert new.gates == ()
    assert new.model.macs_counted is None
    assert new.performance.energy is None
    assert new.conditions.before is None
    assert all(arm.first_call_s is None for arm in new.performance.arms.values())


def test_a_quality_record_of_schema_1_keeps_its_metrics():
    old, new = raw("v1_quality.json"), read_record(OLD / "v1_quality.json")
    assert new.quality.mAP == old["quality"]["mAP"]
    assert old["quality"]["AP"] == new.quality.AP
    assert new.quality.class_AUC is None
    assert new.quality.loading is None
    assert list(new.quality.delta.interval) == old["quality"]["delta"]["interval"]


def test_what_a_gpu_was_like_leaves_what_it_is(tmp_path):
    old = raw("v1_performance.json")
    fixed = {"name": "G", "memory_bytes": 9, "driver": "5", "power_limit_w": 700.0, "max_graphics_clock_mhz": 1980}
    moment = {"graphics_clock_mhz": 1755, "memory_clock_mhz": 2619, "temperature_c": 50, "throttle_reasons": 4}
    old["machine"]["gpu"] = fixed | {"mig": False} | moment | {"other_processes": 2}
    path = tmp_path / "0123456789ab.json"
    path.write_text(json.dumps(old))
    new = read_record(path)
    assert new.machine.gpu.model_dump() == fixed | {"mig": False}
    assert new.conditions.before.gpu.model_dump() == moment | {"other_processes": 2, "power_w": None}


@pytest.mark.parametrize(
    ("device", "key"), [("cpu", "cpu-amd-epyc-avx512-2-threads"), ("cuda", "cpu-amd-epyc-2-threads")]
)
def test_the_key_of_a_cpu_gets_the_instructions_that_the_record_knows(tmp_path, device, key):
    old = raw("v1_performance.json")
    assert old["software"]["cpu_capability"] == "AVX512"
    old["machine"]["device"] = device
    path = tmp_path / "0123456789ab.json"
    path.write_text(json.dumps(old))
    assert read_record(path).machine.key == key


def test_a_migration_leaves_what_it_is_given():
    old = raw("v1_performance.json")
    before = json.dumps(old)
    newer = MIGRATIONS[1](old)
    assert json.dumps(old) == before
    before = json.dumps(newer)
    MIGRATIONS[2](newer)
    assert json.dumps(newer) == before


@pytest.mark.parametrize("broken", [{"machine": 3}, {"performance": {"arms": 3}}, {"performance": []}])
def test_an_old_record_that_is_not_whole_is_named(tmp_path, broken):
    path = tmp_path / "0123456789ab.json"
    path.write_text(json.dumps(raw("v1_performance.json") | broken))
    with pytest.raises(RecordError, match="0123456789ab.json: is not a whole record of schema 1.*run the sweep again"):
        read_record(path)


def test_published_records_are_read_and_keep_their_identity():
    records = read_records(RESULTS)
    assert len(records) > 20
    for record in records:
        import hashlib

        assert record.cell.id == hashlib.sha256(canonical(record.cell.question).encode()).hexdigest()[:12]


def test_the_published_sweep_still_asks_the_same_questions():
    ids = {cell.id for cell in expand(load_sweep(find_sweep("default")))}
    assert ids == {record.cell.id for record in read_records(RESULTS) if record.sweep == "default"}


@pytest.mark.parametrize(("scope", "expected"), [("forward", "flash_cpu"), ("training_step", None)])
def test_attention_of_training_steps_was_not_seen_before(scope: str, expected: str | None):
    raw = {"attention": {"backend_ran": "flash_cpu"}, "cell": {"question": {"measure": {"scope": scope}}}}
    assert MIGRATIONS[7](raw) == raw | {"attention": {"backend_ran": expected}, "schema_version": 8}


def test_threads_that_ran_were_not_counted_before():
    cpu = {"model": "AMD EPYC"}
    arms = {"candidate": {"load": {"own": [2.0, 1.9]}}, "slice": {"load": None}}
    old = {"machine": {"key": "cpu", "cpu": cpu}, "performance": {"arms": arms}}
    new = MIGRATIONS[8](old)
    assert new["machine"] == {"key": "cpu", "cpu": cpu | {"generation": None}}
    loads = {name: arm["load"] for name, arm in new["performance"]["arms"].items()}
    assert loads == {"candidate": {"own": [2.0, 1.9], "active": [None, None]}, "slice": None}
    assert MIGRATIONS[8](old | {"performance": None})["performance"] is None
