"""A run with nothing to do ends at once; where anything is left to do or in doubt, it is a run as ever."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cheap_runners
import pytest
from test_store import make

from bench.records.store import RecordError, Store
from bench.records.table import write_table
from bench.run.driver import Options, RunSummary
from bench.run.progress import Progress
from bench.run.settled import keep_in_mind, settled
from bench.sweep.expansion import expand
from bench.sweep.file import load_sweep
from bench.sweep.listing import place_of

ROOT = Path(__file__).parents[3]
SWEEP = """
name = "small"
kinds = ["performance"]
[model]
name = "ast_tiny"
[grid]
r = [0, 10]
batch_size = [1, 8]
device = ["cpu"]
"""
pytestmark = pytest.mark.skipif(
    any(Path("/dev").glob("nvidia*")) or Path("/dev/kfd").exists(), reason="nothing is remembered where a GPU may be"
)


class Done:
    """A sweep whose cells all have a record."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "small.toml"
        self.path.write_text(SWEEP)
        self.results = folder / "results"
        self.config = load_sweep(self.path)
        self.cells = expand(self.config)
        self.store = Store(self.results, "abacus", "small")
        for cell in self.cells:
            self.store.write(make(cell))
        write_table(self.store.folder)
        summary = RunSummary(machines=("abacus",))
        keep_in_mind(self.path, (), self.config, self.cells, summary, place_of(self.path, ()))

    def look(self, **options):
        self.said = io.StringIO()
        with Progress(self.said) as progress:
            asked = Options(results=self.results, cache=self.results, **options)
            return settled(self.path, (), asked, progress)


@pytest.fixture
def done(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path / "cache"))
    return Done(tmp_path)


def test_where_all_is_done_it_says_so(done):
    name, summary = done.look()
    assert name == "small"
    assert summary == RunSummary(before=Counter({"ok": 4}))
    assert done.said.getvalue() == "4 of 4 cells have a record already (--redo measures them again)\n"


def test_a_cell_without_a_record_is_left_to_do(done):
    done.store.path(done.cells[0].id).unlink()
    assert done.look() is None


def test_what_failed_is_left_alone_until_it_is_asked_for(done):
    done.store.write(make(done.cells[0], status="error"))
    write_table(done.store.folder)
    assert done.look()[1].before == {"ok": 3, "error": 1}
    assert done.look()[1].failed
    assert done.look(retry_failed=True) is None


def test_what_an_ended_run_left_is_for_a_run_to_put_right(done):
    for left in (".lock", f".{done.cells[0].id}.json.1.tmp"):
        (done.store.folder / left).touch()
        assert done.look() is None
        (done.store.folder / left).unlink()
    (done.store.folder / "cells.csv").unlink()
    assert done.look() is None


def test_a_disturbed_cell_is_left_to_measure_again(done):
    part = cheap_runners.performance(reasons=("7 of 7 rounds were disturbed",))
    done.store.write(make(done.cells[1], performance=part))
    write_table(done.store.folder)
    assert done.look() is None


def test_times_of_two_machines_under_one_key_are_for_a_run_to_tell_of(done):
    record = make(done.cells[1])
    software = record.software.model_copy(update={"torch": "1.0.0"})
    done.store.write(record.model_copy(update={"software": software}))
    write_table(done.store.folder)
    assert done.look() is None


def test_a_record_that_cannot_be_read_is_named(done):
    path = done.store.path(done.cells[0].id)
    path.write_bytes(path.read_bytes()[:-30] + b'"no": 1}\n')
    later = path.stat().st_mtime_ns + 10**9
    os.utime(done.store.folder / "cells.csv", ns=(later, later))
    with pytest.raises(RecordError, match=path.name):
        done.look()


@pytest.mark.parametrize("change", [{"OMP_NUM_THREADS": "7"}, {"ATEN_CPU_CAPABILITY": "default"}])
def test_another_setting_may_be_another_machine(done, monkeypatch, change):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert done.look() is None


def test_it_needs_no_pytorch(done):
    code = f"""
import sys
from bench.cli import app
try:
    app(["run", {str(done.path)!r}, "--results", {str(done.results)!r}])
except SystemExit as ended:
    assert not ended.code
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == "4 skipped (4 ok)"
