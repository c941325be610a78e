"""`gather` that is killed by hand, or that meets a disk without room: whole records, nothing lost, and it goes on."""

from __future__ import annotations

import io
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cheap_runners
import pandas as pd
import pytest
from soak_runners import environment
from test_interruptions import in_own_mounts

from bench.records.store import read_records, record_bytes

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Results of 401 cells."""
    folder = tmp_path_factory.mktemp("source")
    cheap_runners.run([cheap_runners.cell("fine")], folder, io.StringIO())
    (store,), (like,) = folder.glob("*/cheap"), read_records(folder)
    for number in range(400):
        cell = cheap_runners.cell("fine", 1000 + number)
        part = like.cell.model_copy(update={"id": cell.id, "question": cell.question})
        (store / f"{cell.id}.json").write_bytes(record_bytes(like.model_copy(update={"cell": part})))
    return folder


def gather(source: Path, into: Path) -> list[str]:
    return [sys.executable, "-m", "bench", "gather", str(source), "--into", str(into)]


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def assert_all_is_there(source: Path, into: Path) -> None:
    theirs, ours = (sorted(record.cell.id for record in read_records(folder)) for folder in (source, into))
    assert ours == theirs
    assert hidden(into) == []
    (table,) = into.rglob("cells.csv")
    assert sorted(pd.read_csv(table).cell.astype(str)) == ours


@pytest.mark.slow
def test_gather_that_is_killed_again_and_again_loses_nothing_and_goes_on(source, tmp_path):
    chance, into, kills, seen = random.Random(3), tmp_path / "into", 0, 0
    while True:
        process = subprocess.Popen(
            gather(source, into), env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        there = len(list(into.rglob("*.json")))
        # Killed somewhere in writing: as soon as there are more than before, or hidden files, and a little later.
        deadline = time.monotonic() + 120
        while process.poll() is None and kills < 12 and time.monotonic() < deadline:
            if len(list(into.rglob("*.json"))) > there or hidden(into):
                time.sleep(chance.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        said, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
        records = read_records(into)  # whole ones only
        assert len(records) >= seen
        seen = len(records)
    assert kills >= 3
    assert "replaced" in said
    assert_all_is_there(source, into)


def test_gather_onto_a_disk_without_room_says_so_and_goes_on(source, tmp_path):
    into = tmp_path / "into"
    into.mkdir()
    disk, command = shlex.quote(str(into)), shlex.join(gather(source, into))
    script = f"""
run() {{ code=0; {command} >{disk}.said$1 2>{disk}.errors$1 || code=$?; echo $code >{disk}.code$1
         cp -r {disk} {disk}.copy$1; }}
mount -t tmpfs -o size=1500k none {disk}
run 1
mount -o remount,size=50m {disk}
run 2
"""
    subprocess.run(in_own_mounts(script), env=environment(), cwd=ROOT, check=True, timeout=200)
    errors, code = (Path(f"{into}.{name}1").read_text() for name in ("errors", "code"))
    assert int(code) == 1
    assert errors.count("\n") == 1
    assert errors.startswith("bench: [Errno 28] No space left on device: ")
    assert "make room on the disk, and the same command resumes from there" in errors
    first = Path(f"{into}.copy1")
    assert 0 < len(read_records(first)) < 401
    assert hidden(first) == []
    assert int(Path(f"{into}.code2").read_text()) == 0, Path(f"{into}.errors2").read_text()
    assert_all_is_there(source, Path(f"{into}.copy2"))
