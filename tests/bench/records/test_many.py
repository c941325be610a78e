"""Work on many records is what it is on few, in their order, and leaves nobody behind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

import psutil
import pytest

from bench.records import many
from bench.records.many import each_of_many

SLEEPERS = """
import time
from bench.records import many
many.MANY = 1
many.affinity = lambda: 2
print("begun", flush=True)
list(many.each_of_many(time.sleep, [600] * 200))
"""


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(many, "MANY", 10)
    monkeypatch.setattr(many, "affinity", lambda: 2)


def test_results_come_in_order_from_several_processes(two_processes):
    assert list(each_of_many(math.sqrt, [number**2 for number in range(180)])) == list(range(180))


def test_what_work_raises_is_raised_in_its_place(two_processes):
    got = []
    with pytest.raises(ValueError, match="nonnegative|math domain"):
        got += list(each_of_many(math.sqrt, [*[1.0] * 60, -1.0, *[1.0] * 60]))
    assert got == []


@pytest.mark.parametrize("names", [(), ("a", "bb")])
def test_few_are_worked_on_here(names):
    here: list[str] = []
    list(each_of_many(here.append, names))  # another process would append to a list of its own
    assert here == list(names)


def test_a_process_that_is_ended_from_outside_is_named(two_processes):
    with pytest.raises(RuntimeError, match="was killed.*run the command again"):
        list(each_of_many(os._exit, [0] * 60))


def test_helpers_end_with_the_command_that_is_killed(tmp_path):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    command = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        me, end = psutil.Process(command.pid), time.monotonic() + 60
        while len(me.children()) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        helpers = me.children()
        assert len(helpers) == 2
        time.sleep(1)
    finally:
        command.kill()
        command.wait()
    assert not psutil.wait_procs(helpers, timeout=20)[1]
