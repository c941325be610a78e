"""The server that cells are forked from may be killed: no answer is lost, and the next one has everything loaded."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import connection, forkserver
from pathlib import Path

import psutil

from bench.run.isolation import Isolation


def server() -> int:
    return forkserver._forkserver._forkserver_pid


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def slow(begun: str, seconds: float) -> int:
    Path(begun).write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def die_late(begun: str) -> None:
    slow(begun, 0.3)
    os._exit(7)


def loaded() -> bool:
    """Whether this process was forked from one that had a module before it was asked for anything."""
    import sys

    return "wave" in sys.modules


def kill_when(begun: Path) -> threading.Thread:
    def kill() -> None:
        wait_for(begun)
        os.kill(server(), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_cell_that_runs_while_its_server_is_killed_still_answers(tmp_path):
    isolation = Isolation(preload=("wave",))
    killer = kill_when(tmp_path / "begun")
    outcome = isolation.run("test_isolation_server:slow", str(tmp_path / "begun"), 0.5, time_limit=60)
    killer.join()
    assert outcome.status == "ok"
    assert outcome.value > 0


def test_the_next_server_has_loaded_what_the_first_one_had(tmp_path):
    isolation = Isolation(preload=("wave",))
    assert isolation.run("test_isolation_server:loaded", time_limit=60).value
    before = server()
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    outcome = isolation.run("test_isolation_server:loaded", time_limit=60)
    assert (outcome.status, outcome.value) == ("ok", True)
    assert server() != before


def die_while_answering() -> bytes:
    """Answer with what is sent in parts, and be killed by the system in the first of them."""

    def half(self, content, write=os.write):
        os.write(self._handle, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    connection.Connection._send = half
    return bytes(1_000_000)


def test_a_cell_that_is_killed_while_it_answers_is_an_error():
    outcome = Isolation().run("test_isolation_server:die_while_answering", time_limit=60)
    assert outcome.status == "error"
    assert "ended by signal 9 (SIGKILL)" in outcome.message


def test_a_cell_that_dies_after_its_server_is_an_error(tmp_path):
    isolation = Isolation(preload=("wave",))
    killer = kill_when(tmp_path / "begun")
    outcome = isolation.run("test_isolation_server:die_late", str(tmp_path / "begun"), time_limit=60)
    killer.join()
    assert outcome.status == "error"
    assert "no answer" in outcome.message


def test_a_cell_that_hangs_after_its_server_has_its_time_limit_and_is_ended(tmp_path):
    isolation = Isolation(preload=("wave",))
    killer = kill_when(tmp_path / "begun")
    outcome = isolation.run("test_isolation_server:slow", str(tmp_path / "begun"), 600, time_limit=10)
    killer.join()
    assert (outcome.status, outcome.message) == ("timeout", "took longer than the time limit of 10 s")
    cell = int((tmp_path / "begun").read_text())
    deadline = time.monotonic() + 30
    while psutil.pid_exists(cell) and psutil.Process(cell).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the cell outlives its time limit"
        time.sleep(0.05)
