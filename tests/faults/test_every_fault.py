"""A disk that fails, at every change that FastAST makes to it: `nox -s faults` prints what becomes of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from faulty_disk import compiler

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the disk that fails is made with Linux's LD_PRELOAD"),
    pytest.mark.skipif(compiler() is None, reason="no C compiler to build the disk that fails"),
]


def test_no_fault_of_the_disk_loses_anything_or_leaves_half_of_it():
    command = [sys.executable, str(HERE / "every_fault.py")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "none left a half-written file" in done.stdout
    doors = [line for line in done.stdout.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(doors) == 12
    for fault in ("killed before", "killed after", "disk full", "I/O error", "short write", "torn write"):
        assert fault in done.stdout
