"""Counters as Linux shows them, None for what it does not, and rates between two readings computed by hand."""

from __future__ import annotations

import dataclasses
import os
import threading
import time

import pytest

from bench.measure import counters
from bench.measure.counters import Counters, own_thread, read_counters, throttled_seconds
from bench.measure.load import Load, LoadColumns, Meter, load_between, load_columns


def test_what_a_quota_kept_away_is_read_from_both_versions_of_control_groups(tmp_path):
    second, first, strange = tmp_path / "v2", tmp_path / "v1", tmp_path / "strange"
    for folder in (second, first, strange):
        folder.mkdir()
    (second / "cpu.stat").write_text("usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n")
    (first / "cpu.stat").write_text("nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n")
    (strange / "cpu.stat").write_text("not a table of two columns\n")
    missing = tmp_path / "none"
    assert throttled_seconds([missing, second]) == 2.5
    assert throttled_seconds([first]) == 1.5
    assert throttled_seconds([first, second]) == 2.5  # of a group and those above it, the one that was kept longest
    assert throttled_seconds([missing, strange]) is None


def proc(folder, *, stat: str, threads: dict[int, str], pressure: int | None = None):
    (folder / "stat").write_text(stat)
    for thread, text in threads.items():
        (folder / "self" / "task" / str(thread)).mkdir(parents=True)
        (folder / "self" / "task" / str(thread) / "schedstat").write_text(text)
    if pressure is not None:
        (folder / "pressure").mkdir()
        for name in ("cpu", "memory", "io"):
            lines = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={pressure}\nfull avg10=0.00 total=7\n"
            (folder / "pressure" / name).write_text(lines)
    return folder


def test_counters_are_those_of_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(counters, "_allowed", lambda: {0, 2})
    monkeypatch.setattr(counters, "_neighbours", lambda cpus: cpus | {3})  # 3 shares a core with 2
    stat = (
        "cpu 9 9 9 9 9 9 9 9 0 0\n" + "".join(f"cpu{i} 100 10 20 5000 7 2 1 {i} 0 0\n" for i in range(4)) + "intr 5\n"
    )
    threads = {11: "5000 2000000000 3\n", 12: "5000 500000000 3\n"}
    read = read_counters(proc(tmp_path, stat=stat, threads=threads, pressure=1_500_000))
    ticks = os.sysconf("SC_CLK_TCK")
    assert read.waited == {"11": 2.0, "12": 0.5}
    assert read.busy == pytest.approx(3 * (100 + 10 + 20 + 2 + 1) / ticks)  # not idle, not waiting for a disk
    assert read.stolen == pytest.approx((0 + 2 + 3) / ticks)
    assert read.pressure == {"cpu": 1.5, "memory": 1.5, "io": 1.5}


def test_what_linux_does_not_show_is_none(tmp_path):
    read = read_counters(tmp_path)
    assert (read.waited, read.busy, read.stolen, read.pressure) == (None, None, None, None)
    assert read.cpu > 0


def test_a_kernel_without_scheduler_statistics_tells_of_no_waiting(tmp_path):
    (tmp_path / "self" / "task" / "11").mkdir(parents=True)
    assert read_counters(tmp_path).waited is None


def test_cores_are_counted_once_however_many_threads_run_on_them(tmp_path, monkeypatch):
    for cpu, siblings in enumerate(("0,4", "1-2", "1-2", "3")):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(counters, "_allowed", lambda: {0, 1, 2, 3})
    assert counters.usable_cores(tmp_path) == 3
    assert counters._siblings(0, tmp_path) == {0, 4}
    assert counters._siblings(9, tmp_path) == {9}


def reading(**values: object) -> Counters:
    usual = {"clock": 0.0, "cpu": 0.0, "system": 0.0, "thread": 0.0, "waited": {"1": 0.0}, "ran": None}
    usual |= {"switches": 0, "faults": 0}
    usual |= {"major_faults": 0, "busy": 0.0, "stolen": 0.0, "throttled": 0.0}
    return Counters(**(usual | {"pressure": {"cpu": 0.0, "memory": 0.0, "io": 0.0}} | values))


def test_rates_between_two_readings_by_hand():
    before = reading(clock=10.0, waited={"1": 4.0, "2": 1.0}, ran={"1": 5.0, "2": 1.0}, faults=7, busy=100.0)
    after = reading(
        clock=12.0,
        cpu=3.0,
        system=0.6,
        thread=1.2,
        waited={"1": 4.3, "2": 1.5, "3": 0.1},  # a thread that came meanwhile
        ran={"1": 6.2, "2": 1.03, "3": 0.3},  # the second hardly ran
        switches=50,
        faults=47,
        major_faults=3,
        busy=104.0,
        stolen=0.2,
        throttled=0.5,
        pressure={"cpu": 1.0, "memory": 0.4, "io": 0.0},
    )
    load = load_between(before, after, iterations=4, threads=2, thread="1")
    assert dataclasses.asdict(load) == {
        "seconds": 2.0,
        "iterations": 4,
        "threads": 2,
        "active": 2,
        "own": 1.5,
        "idle": pytest.approx(1 - (1.2 + 0.3) / 2),
        "waited": pytest.approx((0.3 + 0.5 + 0.1) / 2),
        "others": pytest.approx(4.0 / 2 - 1.5),
        "stolen": 0.1,
        "throttled": 0.25,
        "pressure": (0.5, 0.2, 0.0),
        "switches": 25.0,
        "faults": 10.0,
        "major_faults": 3,
        "system": pytest.approx(0.2),
        "gpu_clock_mhz": None,
        "gpu_reasons": None,
        "gpu_others": None,
    }


def test_what_one_reading_lacks_has_no_rate():
    lacking = reading(clock=1.0, waited=None, busy=None, stolen=None, throttled=None, pressure=None)
    load = load_between(reading(), lacking, iterations=1, threads=1, thread="1")
    assert (load.waited, load.idle, load.others, load.stolen, load.throttled, load.pressure) == (None,) * 6


def test_a_record_keeps_every_signal_of_every_round():
    load = load_between(reading(), reading(clock=1.0, cpu=0.5), iterations=1, threads=1, thread="1")
    columns = load_columns([load, load])
    assert columns.own == (0.5, 0.5)
    settings = {"seconds", "iterations", "threads"}
    assert set(LoadColumns.model_fields) == {field.name for field in dataclasses.fields(Load)} - settings


def test_a_thread_that_sleeps_is_idle_and_one_that_computes_is_not():
    meter = Meter(1)
    meter.start()
    time.sleep(0.1)
    asleep = meter.stop(1)
    if asleep.idle is None:
        pytest.skip("this kernel has no scheduler statistics")
    meter.start()
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    awake = meter.stop(1)
    assert asleep.idle > 0.5 > 0.2 > awake.idle
    assert awake.own > asleep.own


def test_two_threads_on_one_processor_wait_for_each_other():
    if read_counters().waited is None or not hasattr(os, "sched_setaffinity"):
        pytest.skip("this kernel has no scheduler statistics")
    allowed = os.sched_getaffinity(0)
    child = os.fork()
    if child == 0:  # a hog on the same processor
        os.sched_setaffinity(0, {min(allowed)})
        while True:
            pass
    try:
        os.sched_setaffinity(threading.get_native_id(), {min(allowed)})
        meter = Meter(1)
        meter.start()
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            pass
        load = meter.stop(1)
    finally:
        os.sched_setaffinity(threading.get_native_id(), allowed)
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert load.waited > 0.25
    assert load.own < 0.75
    assert own_thread() in read_counters().waited
