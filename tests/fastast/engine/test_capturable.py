"""Whatever method chooses, a graph can hold the forward: test_graphs.py captures on a GPU, and few methods alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fastast.reduction import method_names
from tests.fastast.kernels.ahead_of_time import ROOT


def test_after_its_first_forward_no_method_needs_the_host() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.fastast.engine.capturable"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found == {name: None if found[name] is None else [] for name in method_names()}
    assert found["tome"] == []
