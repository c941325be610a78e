"""Records on disk: whole or not there, typed, and refused with one clear message where they are neither."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cheap_runners
import numpy as np
import pandas as pd
import pytest

from bench.measure.disturbance import Disturbance, RepeatedRound
from bench.measure.load import LoadColumns
from bench.records import store as store_module
from bench.records.export import split_schedule
from bench.records.schema import SCHEMA_VERSION, Suite
from bench.records.store import (
    COLUMNS,
    Head,
    RecordError,
    Store,
    hash_array,
    read_head,
    read_record,
    read_records,
    to_frame,
)
from bench.records.table import write_rows
from bench.run.isolation import Outcome
from bench.run.recording import make_record
from bench.sweep.baselines import BASELINES
from fastast.data.identity import hash_ids


def make(cell=None, *, status: str = "ok", performance=None):
    from datetime import UTC, datetime

    from bench.cell.answers import Answer

    machine, software = cheap_runners.probe("cpu", None)
    answer = Answer(machine=machine, software=software, performance=performance or cheap_runners.performance())
    outcome = Outcome(status=status, value=answer, message="" if status == "ok" else "broke")
    suite = Suite(version="0", commit=None, dirty=None)
    cell = cell or cheap_runners.cell("fine")
    return make_record("cheap", cell, outcome, suite, machine, software, ("python",), datetime.now(UTC), 0.5)


@pytest.fixture
def stored(tmp_path):
    store, record = Store(tmp_path, "abacus", "cheap"), make()
    return store, record, store.write(record)


def test_a_record_comes_back_as_it_was_written(stored):
    store, record, path = stored
    assert read_record(path) == record
    assert store.read(record.cell.id) == record
    assert path.parent.parts[-2:] == ("abacus", "cheap")
    assert store.read("0" * 12) is None


def test_raw_samples_stand_on_one_line(stored):
    _, _, path = stored
    assert '"seconds": [ 2.0, 2.0, 2.0 ]' in path.read_text()


def test_a_record_cut_in_half_is_named(stored):
    _, _, path = stored
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecordError, match=f"{path.name}: not a whole JSON file .* run the sweep again"):
        read_records(path.parents[2])


def test_a_record_of_a_newer_schema_is_named(stored):
    _, _, path = stored
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(
        RecordError, match=f"{path.name}: is of schema 99, this FastAST reads up to {SCHEMA_VERSION}; update"
    ):
        read_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "great"}, "status"),
        ({"surprise": 1}, "surprise"),
        ({"machine": None}, "machine"),
        ({"started": "yesterday"}, "started"),
        ({"schema_version": "1"}, "no schema_version"),
        ({"schema_version": 0}, "cannot be read any more"),
    ],
)
def test_a_record_that_breaks_the_schema_is_named_with_the_field(stored, change, message):
    _, _, path = stored
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RecordError, match=message) as caught:
        read_record(path)
    assert path.name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_older_record_is_migrated_step_by_step(stored, monkeypatch):
    _, record, path = stored
    old = json.loads(path.read_text()) | {"schema_version": 0}
    old["state"] = old.pop("status")

    def rename(raw):
        raw["condition"] = raw.pop("state")
        return raw | {"schema_version": 1}

    def rename_again(raw):
        raw["status"] = raw.pop("condition")
        return raw | {"schema_version": 2}

    def one_more(raw):
        return raw | {"schema_version": raw["schema_version"] + 1}

    later = dict.fromkeys(range(2, SCHEMA_VERSION), one_more)
    monkeypatch.setattr(store_module, "MIGRATIONS", {**later, 1: rename_again, 0: rename})
    path.write_text(json.dumps(old))
    assert read_record(path) == record


def test_a_record_under_the_name_of_another_cell_is_refused(stored):
    store, record, path = stored
    path.rename(store.path("0" * 12))
    for read in (store.read, store.head):
        with pytest.raises(RecordError, match=record.cell.id):
            read("0" * 12)


def test_the_head_of_a_record_says_what_the_whole_does(stored, monkeypatch):
    store, record, path = stored
    expected = Head(cell_id=record.cell.id, status="ok", seconds=(record.finished - record.started).total_seconds())
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read_record", None)  # the head is enough
        patch.setattr(store_module, "HEAD", path.stat().st_size // 2)
        assert store.head(record.cell.id) == expected
    assert store.head("0" * 12) is None
    path.write_text(json.dumps(json.loads(path.read_text())))  # written by something else: no line at its end
    assert store.head(record.cell.id) == expected
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({name: raw[name] for name in reversed(raw)}) + "\n")
    monkeypatch.setattr(store_module, "HEAD", 100)
    assert store.head(record.cell.id) == expected


@pytest.mark.parametrize("version", ["v1_quality", "v1_performance"])
def test_the_head_of_an_older_record_is_read_too(version):
    path = Path(__file__).parent / "old_records" / f"{version}.json"
    record = read_record(path)
    assert (read_head(path).status, read_head(path).cell_id) == (record.status, record.cell.id)


@pytest.mark.parametrize("end", [0.5, 0.9, 0.999])
def test_the_head_of_a_record_that_was_cut_is_no_head(stored, end):
    store, record, path = stored
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * end)])
    with pytest.raises(RecordError, match=f"{path.name}: not a whole JSON file"):
        store.head(record.cell.id)


def test_half_written_temporary_files_are_ignored(stored):
    store, record, path = stored
    (path.parent / f".{path.name}.123.tmp").write_text("{")
    (path.parent / "notes.json").write_text("{")
    assert read_records(store.folder) == [record]


def test_a_failed_write_leaves_the_old_record_and_no_temporary_file(stored, monkeypatch):
    store, record, path = stored

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: nothing was written.*{path.name}"):
        store.write(make(status="error"))
    assert store.read(record.cell.id) == record
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]


def test_a_reader_of_the_old_record_never_sees_half_of_the_new_one(stored):
    store, record, path = stored
    old = path.read_text()
    with path.open() as reader:
        store.write(make(status="error"))
        assert reader.read() == old
    assert store.read(record.cell.id).status == "error"


def test_the_records_of_all_machines_and_sweeps_are_found(tmp_path):
    for machine, sweep in (("a", "x"), ("a", "y"), ("b", "x")):
        Store(tmp_path, machine, sweep).write(make())
    assert len(read_records(tmp_path)) == 3
    assert len(read_records(tmp_path / "a")) == 2
    assert len(read_records(tmp_path / "a" / "x")) == 1


def test_the_table_has_the_documented_columns_in_their_order(tmp_path):
    frame = to_frame([make(), make(status="error")])
    assert list(frame.columns) == list(COLUMNS)
    assert all(COLUMNS.values())
    assert list(to_frame([]).columns) == list(COLUMNS)
    Store(tmp_path, "a", "x").write(make())
    assert write_rows(tmp_path, tmp_path / "a.csv") == 1
    assert list(pd.read_csv(tmp_path / "a.csv").columns) == list(COLUMNS)


def test_the_row_of_a_performance_cell_is_computed_from_the_raw_samples():
    candidate, unmerged = (1.0, 1.5, 2.0, 4.0, 9.0), (3.0, 4.5, 5.0, 12.0, 27.0)
    performance = cheap_runners.performance(candidate=candidate, unmerged=unmerged)
    row = to_frame([make(performance=performance)]).iloc[0]
    assert row.latency_ms == pytest.approx(2000)
    assert row.latency_iqr_ms == pytest.approx(1000 * (4.0 - 1.5))
    assert row.clips_per_s == pytest.approx(4 / 2)
    assert row.latency_unmerged_ms == pytest.approx(5000)
    assert row.speedup_unmerged == pytest.approx(2.5)
    assert row.speedup_unmerged_low == pytest.approx(2.5)
    assert row.speedup_unmerged_high == pytest.approx(3.0)
    assert row.forward_memory_bytes == 2
    assert row.kept_memory_bytes == 1
    assert pd.isna(row.speedup_slice)
    assert (row.method, row.schedule, row.family, row.r) == ("none", "none", "none", 0)
    assert pd.isna(row.mAP)


def test_fewer_than_five_rounds_have_no_interval():
    row = to_frame([make(performance=cheap_runners.performance((1.0, 2.0, 9.0, 2.0), (3.0, 5.0, 27.0, 5.0)))]).iloc[0]
    assert row.rounds == 4
    assert row.speedup_unmerged == pytest.approx(2.5)
    assert pd.isna(row.speedup_unmerged_low)
    assert pd.isna(row.speedup_unmerged_high)


def test_what_else_went_on_is_in_the_row():
    columns = {"own": (2.0, 1.0), "waited": (0.5, 0.25), "others": (0.2, None), "faults": (10.0, 30.0)}
    columns |= {"system": (0.1, 0.3), "switches": (1.0, 1.0), "major_faults": (0, 0), "pressure": (None, None)}
    names = ("active", "idle", "stolen", "throttled", "gpu_clock_mhz", "gpu_reasons", "gpu_others")
    load = LoadColumns(**columns, **dict.fromkeys(names, (None, None)))
    part = cheap_runners.performance()
    arms = {name: arm.model_copy(update={"load": load}) for name, arm in part.arms.items()}
    again = RepeatedRound(reasons=("waited",), seconds={"candidate": 9.0, "unmerged": 9.0})
    disturbance = Disturbance(reasons=(), repeated=(again,), unread=("stolen",))
    row = to_frame([make(performance=part.model_copy(update={"arms": arms, "disturbance": disturbance}))]).iloc[0]
    assert (row.waited, row.faults, row.system_share, row.rounds_repeated) == (0.375, 20.0, pytest.approx(0.2), 1)
    assert pd.isna(row.others)  # of one round nobody knows


def test_the_row_of_a_failed_cell_keeps_its_question():
    row = to_frame([make(status="oom")]).iloc[0]
    assert (row.status, row.message, row.batch_size) == ("oom", "broke", 4)
    assert pd.isna(row.latency_ms)


@pytest.mark.parametrize(
    ("schedule", "family", "r"),
    [
        ("constant:40", "constant", 40),
        ("linear:40:-0.5", "linear:-0.5", 40),
        ("keep:0.7", "keep:0.7", None),
        ("none", "none", 0),
    ],
)
def test_a_schedule_is_split_into_family_and_r(schedule, family, r):
    assert split_schedule(schedule) == (family, r)


def test_every_baseline_has_its_columns():
    for baseline in BASELINES:
        assert {f"latency_{baseline}_ms", f"speedup_{baseline}_low"} <= set(COLUMNS)


def test_hashes_tell_order_shape_and_type_apart():
    assert hash_ids(["a", "b"]) != hash_ids(["b", "a"])
    zeros = np.zeros((2, 3), np.uint8)
    assert len({hash_array(zeros), hash_array(zeros.T), hash_array(zeros.astype(np.int8))}) == 3
    assert hash_array(zeros) == hash_array(zeros.copy(order="F"))


def test_the_page_about_records_tells_of_every_version():
    page = (Path(__file__).parents[3] / "docs/records.md").read_text()
    told = {int(number) for number in re.findall(r"[Vv]ersion\s(\d+)\s", page)}
    assert told == set(range(2, SCHEMA_VERSION + 1))
