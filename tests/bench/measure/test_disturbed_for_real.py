"""Processes that are really disturbed, each in a way of its own, and one that is not.

Every kind has to be told by its own name: on a machine that others use, something is always told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from bench.measure.counters import read_counters, usable_cores
from bench.measure.disturbance import WORDS

ROOT, HERE = Path(__file__).parents[3], Path(__file__).parent
BUSY = 0.1
"""Processors that others may use where a machine is called quiet."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(read_counters().waited is None, reason="this kernel has no scheduler statistics"),
    pytest.mark.skipif(usable_cores() < 2, reason="there is one core; these need two"),
]


def start(*arguments: object, group: Path | None = None) -> subprocess.Popen[str]:
    """Start the process that is measured, in a control group where one is given, and wait until it begins."""
    command = [sys.executable, str(HERE / "measured_process.py"), *map(str, arguments)]
    if group is not None:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    # Threads that turn while they wait never sleep: what is looked for must be seen with both ways of waiting.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"}
    environment.pop("OMP_WAIT_POLICY", None)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def result(process: subprocess.Popen[str]) -> dict:
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return json.loads(output)


def told(found: dict) -> set[str]:
    """What was told of some round or of all of them."""
    return set(found["reasons"]) | {name for name, words in WORDS.items() if words in found["disturbed"]}


@contextmanager
def hogs(count: int, group: Path | None = None) -> Iterator[None]:
    """Eat so many processors."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def control_group(controller: str, **settings: object) -> Iterator[Path]:
    """Make a control group of version 1 or 2; skip where that is not allowed."""
    root = Path("/sys/fs/cgroup")
    folder = (root / controller if (root / controller).is_dir() else root) / f"fastast-test-{os.getpid()}"
    try:
        folder.mkdir()
        for name, value in settings.items():
            (folder / name.replace("__", ".")).write_text(str(value))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield folder
    finally:
        for _ in range(100):  # it is empty some moments after its processes have ended
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)


@pytest.mark.parametrize("count", [1, 2])
def test_processes_that_eat_processors_are_told(count):
    with hogs(count):
        found = result(start(12))
    assert {"waited", "crowded"} <= told(found)
    assert found["disturbed"]


def test_a_process_that_is_stopped_and_continued_is_told():
    process, over = start(30), threading.Event()

    def stop_and_go() -> None:
        while not over.wait(0.1):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        found = result_while(process, over)
    finally:
        over.set()
        thread.join()
    assert "asleep" in told(found)


def result_while(process: subprocess.Popen[str], over: threading.Event) -> dict:
    """Return the result; nobody signals the process once its line is there."""
    assert process.stdout is not None
    line = process.stdout.readline()
    over.set()
    process.send_signal(signal.SIGCONT)
    process.wait()
    return json.loads(line)


def test_a_quota_that_is_too_small_is_told():
    version_2 = not Path("/sys/fs/cgroup/cpu").is_dir()
    quota = {"cpu__max": "60000 100000"} if version_2 else {"cpu__cfs_quota_us": 60_000}
    if not version_2:
        quota |= {"cpu__shares": 4096}  # or a busy machine leaves less than the quota
    with control_group("cpu", **quota) as group:
        found = result(start(12, group=group))
    assert "throttled" in told(found)
    assert found["disturbed"]


READ_AGAIN = 4 * 512
"""Faults that read 64 MiB four times over, 128 KiB each: once is the first reading, which is no disturbance."""


def test_pages_that_have_to_be_read_again_are_told(tmp_path):
    """Two processes whose files do not fit into the memory of their control group together.

    Whether pages had to be read again is asked of the group: a slow disk does not let the other process press.
    """
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("there is no memory controller of version 1")
    mapped, other = tmp_path / "mapped", tmp_path / "other"
    for path, size in ((mapped, 64), (other, 256)):
        path.write_bytes(os.urandom(2**20) * size)
    os.sync()
    read = "while True:\n with open(sys.argv[1], 'rb') as f:\n  while f.read(2**20): pass"
    with control_group("memory", memory__limit_in_bytes=400 * 2**20) as group:
        for path in (mapped, other):  # so that they are read, and counted, in the group
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        command = [sys.executable, "-c", f"import sys\n{read}", str(other)]
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
        pressing = subprocess.Popen(command)
        try:
            for _ in range(4):
                before = faults_of(group)
                seen = told(result(start(24, mapped, group=group)))
                if "paged" in seen or faults_of(group) - before > READ_AGAIN:
                    break
            else:
                pytest.skip("the other process was too slow to press any page out of memory")
        finally:
            pressing.kill()
            pressing.wait()
    assert "paged" in seen, seen


def faults_of(group: Path) -> int:
    """Return how many pages the group's processes had to wait for until they were read."""
    counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(counts["pgmajfault"])


@pytest.mark.soak  # a virtual machine's host is seldom quiet, and nothing here can ask it
def test_a_quiet_run_is_not_accused():
    """Whether the machine is quiet is asked of other counters: what each other process used meanwhile."""
    before = used_by_others(())
    time.sleep(1)
    if (used := used_by_others(()) - before) > BUSY:
        pytest.skip(f"the machine is not quiet: others use {used:.2f} processors")
    process = start(100)
    before, began = used_by_others((process.pid,)), time.monotonic()
    found = None
    assert process.stdout is not None
    line = process.stdout.readline()
    used = (used_by_others((process.pid,)) - before) / (time.monotonic() - began)
    process.wait()
    found = json.loads(line)
    if used > BUSY:
        pytest.skip(f"the machine was not quiet: others used {used:.2f} processors")
    assert found["disturbed"] == ""
    assert found["repeated"] < 0.02 * (found["rounds"] + found["repeated"])


def used_by_others(known: tuple[int, ...]) -> float:
    """Return the processor seconds of all other processes, from the books of each of them."""
    total = 0.0
    for process in psutil.process_iter():
        if process.pid not in (os.getpid(), *known):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
    return total
