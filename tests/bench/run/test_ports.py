"""What FastAST starts listens on the loopback address alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RAY = """
import json, sys
import psutil
from bench.run.launchers.ray_cluster import RayLauncher

with RayLauncher(address=None) as launcher:
    import ray

    assert ray.get(ray.remote(lambda: 1).remote()) == 1  # now there is a worker too
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    print(json.dumps([[one.name(), *of.laddr] for one in family for of in one.net_connections("inet")
                      if of.status == psutil.CONN_LISTEN]))
"""


def environment(**changes: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return known | {"PYTHONPATH": str(ROOT)} | changes


def listening(**changes: str) -> list[list[object]]:
    """Return the process, address and port of everything that a Ray of this machine listens on."""
    done = subprocess.run(
        [sys.executable, "-c", RAY], capture_output=True, text=True, env=environment(**changes), check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_ray_that_the_launcher_starts_listens_on_loopback_alone():
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'fastast[ray]'")
    found = listening()
    assert {"gcs_server", "raylet"} <= {name for name, *_ in found}
    assert {address for _, address, _ in found} <= LOOPBACK, found


def test_tensorboard_as_we_say_to_start_it_listens_on_loopback_alone(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra")
    (words,) = {
        line.partition("python ")[2]
        for page in ("docs/profiling.md",)
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if "tensorboard.main" in line
    }
    command = words.replace("build/profiles/default", str(tmp_path)).split()
    board = subprocess.Popen(
        [sys.executable, *command, "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        deadline, found = time.monotonic() + 90, list[str]()
        while not found and time.monotonic() < deadline:
            assert board.poll() is None
            family = [psutil.Process(board.pid), *psutil.Process(board.pid).children(recursive=True)]
            connections = (of for one in family for of in one.net_connections("inet"))
            found = [of.laddr.ip for of in connections if of.status == psutil.CONN_LISTEN]
            time.sleep(0.1)
        assert found
        assert set(found) <= LOOPBACK
    finally:
        board.kill()
        board.wait()
