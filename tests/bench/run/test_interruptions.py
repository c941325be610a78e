"""What can happen to a run from outside: kills, a second driver, a full or read-only disk, records that are broken.

Each is met with one line that names the file and what to do, and loses no record. The long version is `tests/soak`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cheap_runners
import pytest

from bench.records.schema import SCHEMA_VERSION
from bench.records.store import Store, read_records

sys.path.append(str(Path(__file__).parents[2] / "soak"))
from soak_runners import Sweep, assert_nobody_is_left, environment, main, survivors, torment


def finish(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a driver; return its exit code and its only line of errors."""
    errors = driver.communicate(timeout=120)[1].strip()
    assert len(errors.splitlines()) <= 1, errors
    assert_nobody_is_left(driver.pid)
    return driver.returncode, errors


def run_here(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Do what a driver does in this process, which has imported everything; return as `finish` does."""
    capsys.readouterr()
    code = main(sweep.arguments)
    errors = capsys.readouterr().err.strip()
    assert len(errors.splitlines()) <= 1, errors
    return code, errors


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_sweep_whose_drivers_are_killed_ends_with_every_record_once(tmp_path):
    sweep = Sweep(folder=tmp_path, cells=24, seed=7)
    account = torment(sweep, kills=3)
    assert sum(account.kills.values()) == 3
    records = read_records(sweep.results)
    assert len(records) == 24
    # Measured twice is only what was in flight at a kill.
    assert Counter(sweep.executed()) == Counter(record.cell.id for record in records) + account.lost
    assert sweep.hidden() == []


def test_what_a_kill_left_half_written_is_removed_by_the_next_run(tmp_path):
    cell = cheap_runners.cell("fine")
    folder = Store(tmp_path, "cpu-abacus-1-threads", "cheap").folder
    (folder / "predictions").mkdir(parents=True)
    (folder / f".{cell.id}.json.4711.tmp").write_text('{"schema_')
    (folder / "predictions" / f".{cell.id}.npz.4711.tmp").write_bytes(b"PK")
    (folder / ".lock").touch()
    (folder / ".gitkeep").touch()
    (folder / "notes.tmp").touch()
    cheap_runners.run([cell], tmp_path)
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == {f"{cell.id}.json", "cells.csv", ".gitkeep", "notes.tmp"}


def test_a_living_driver_keeps_a_second_one_off_and_a_killed_one_does_not(tmp_path, capsys):
    first = Sweep(folder=tmp_path, cells=1, slow=1200.0).start()
    sweep = Sweep(folder=tmp_path, cells=3, slow=0.001)
    sweep.wait_for(1, first)
    code, message = run_here(sweep, capsys)
    assert code == 1
    assert "cheap: another run writes here; wait for it, or end it" in message
    assert first.poll() is None
    assert len(sweep.executed()) == 1
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert run_here(sweep, capsys) == (0, "")
    assert len(read_records(sweep.results)) == 3
    assert len(sweep.executed()) == 1 + 3
    assert sweep.hidden() == []


def test_of_many_processes_that_want_the_lock_one_has_it(tmp_path):
    """They take and drop it as fast as they can; whoever has it finds a counter as it was left."""
    code = """
import sys, time
from pathlib import Path
from bench.records.store import RecordError, Store
store, wins = Store(Path(sys.argv[1]), "m", "s"), 0
file = Path(sys.argv[1]) / "count"
while wins < 60:
    try:
        with store.lock():
            count = int(file.read_text())
            time.sleep(0.0005)
            file.write_text(str(count + 1))
            wins += 1
    except RecordError:
        pass
"""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment()) for _ in range(3)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "180"
    assert list(Store(tmp_path, "m", "s").folder.iterdir()) == []


def test_a_cell_that_never_gives_up_the_interpreter_dies_with_its_driver(tmp_path):
    ready = tmp_path / "ready"
    code = f"""
from bench.run.isolation import Isolation
Isolation(preload=("bench.run.isolation",)).run("test_interruptions:hold_the_interpreter", {str(ready)!r})
"""
    driver = subprocess.Popen([sys.executable, "-c", code], env=environment(), start_new_session=True)
    deadline = time.monotonic() + 240
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # until it is in the call
    assert len(survivors(driver.pid)) >= 3  # the driver, the server, the cell
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert_nobody_is_left(driver.pid, seconds=30)


def hold_the_interpreter(ready: str) -> None:
    """Sleep for a minute in C, with the interpreter's lock kept: no thread of Python runs meanwhile."""
    import ctypes

    Path(ready).touch()
    ctypes.PyDLL(None).sleep(60)


def in_own_mounts(script: str) -> list[str]:
    """Return a command that runs a shell script where mounts are its own; skip where the system forbids that."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    command = [*unshare, "sh", "-ec"]
    try:
        allowed = subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        allowed = 1
    if allowed:
        pytest.skip("this system lets nobody mount a small disk")
    return [*command, script]


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_one_message_and_loses_no_record(tmp_path):
    sweep = Sweep(folder=tmp_path, cells=40, seed=1, slow=0.001)
    disk, driver = shlex.quote(str(sweep.results)), shlex.join(sweep.command())
    sweep.results.mkdir()
    # A disk of 128 KiB: room to begin, not for 40 records. Then with the disk still full; then with room.
    script = f"""
run() {{ code=0; {driver} >/dev/null 2>{disk}.errors$1 || code=$?; echo $code >{disk}.code$1
         wc -l <{disk}.log >{disk}.count$1; cp -r {disk} {disk}.copy$1; }}
mount -t tmpfs -o size=128k none {disk}
run 1
run 2
mount -o remount,size=8m {disk}
run 3
""".replace(f"{disk}.log", shlex.quote(str(sweep.log)))
    subprocess.run(in_own_mounts(script), env=environment(), check=True, timeout=120)

    def of(number: int) -> tuple[int, str, int, Sweep]:
        code, errors, count = (
            Path(f"{sweep.results}.{name}{number}").read_text() for name in ("code", "errors", "count")
        )
        copy = tmp_path / f"after{number}"
        copy.mkdir()
        Path(f"{sweep.results}.copy{number}").rename(copy / "results")
        return int(code), errors, int(count), Sweep(folder=copy, cells=40)

    code, errors, count, after = of(1)
    first = read_records(after.results)
    assert code == 1
    assert errors.count("\n") == 1
    assert errors.startswith(
        "bench: [Errno 28] No space left on device: nothing was written; make room on the disk, and"
    )
    assert f"{sweep.executed()[count - 1]}.json" in errors
    assert 10 < len(first) == count - 1 < 40  # all but the one that did not fit
    assert after.hidden() == []

    code, errors, count_then, after = of(2)
    assert (code, errors.count("\n"), count_then) == (1, 1, count)  # nothing is measured for a full disk
    assert "make room on the disk" in errors
    assert read_records(after.results) == first
    assert after.hidden() == []

    code, errors, _, after = of(3)
    assert (code, errors) == (0, "")
    assert len(read_records(after.results)) == 40
    executed = Counter(sweep.executed())
    assert executed.total() == 41
    assert executed[sweep.executed()[count - 1]] == 2


def assert_refused_before_measuring(code: int, errors: str, sweep: Sweep) -> None:
    assert code == 1
    assert errors.startswith("bench: [Errno")
    assert errors.endswith(f": '{Store(sweep.results, 'cpu-abacus-1-threads', 'cheap').folder}'")
    assert "give another folder with --results, or make this one writable" in errors
    assert sweep.executed() == []


def test_a_read_only_disk_is_refused_before_anything_is_measured(tmp_path):
    sweep = Sweep(folder=tmp_path, cells=2, slow=0.001)
    Store(sweep.results, "cpu-abacus-1-threads", "cheap").folder.mkdir(parents=True)
    disk = shlex.quote(str(sweep.results))
    script = f"mount --bind {disk} {disk}; mount -o remount,bind,ro {disk}; exec {shlex.join(sweep.command())}"
    code, errors = finish(
        subprocess.Popen(
            in_own_mounts(script), env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    )
    assert_refused_before_measuring(code, errors, sweep)
    assert "Read-only file system" in errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it likes")
def test_a_folder_of_somebody_else_is_refused_before_anything_is_measured(tmp_path):
    sweep = Sweep(folder=tmp_path, cells=2, slow=0.001)
    sweep.results.mkdir(mode=0o500)
    assert_refused_before_measuring(*finish(sweep.start()), sweep)


def test_a_limit_of_file_sizes_is_named_before_anything_is_measured(tmp_path):
    sweep = Sweep(folder=tmp_path, cells=2, slow=0.001)
    code, errors = finish(sweep.start("prlimit", "--fsize=2000"))
    assert code == 1
    assert "File too large: nothing was written; raise the limit of file sizes (ulimit -f)" in errors
    assert sweep.executed() == []
    assert sweep.hidden() == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def age(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1}))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (cut, "not a whole JSON file"),
        (age, f"is of schema {SCHEMA_VERSION + 1}, this FastAST reads up to {SCHEMA_VERSION}; update FastAST"),
    ],
)
def test_a_broken_record_ends_a_run_with_its_name_and_everything_stays_as_it_is(tmp_path, capsys, break_it, message):
    sweep = Sweep(folder=tmp_path, cells=3, slow=0.001)
    cells = [cheap_runners.cell("sleep:0.001", number, log=sweep.log) for number in range(3)]
    cheap_runners.run(cells[:2], sweep.results)
    broken = next(sweep.results.rglob(f"{cells[0].id}.json"))
    break_it(broken)
    before, executed = contents(sweep.results), sweep.executed()
    code, errors = run_here(sweep, capsys)
    assert code == 1
    assert errors.startswith(f"bench: {broken}: ")
    assert message in errors
    assert contents(sweep.results) == before
    assert sweep.executed() == executed  # the third cell, which could be, is not measured either
    broken.unlink()
    summary = cheap_runners.run(cells, sweep.results)
    assert (summary.measured, summary.before) == ({"ok": 2}, {"ok": 1})
    assert len(read_records(sweep.results)) == 3
    assert Counter(sweep.executed())[cells[1].id] == 1
