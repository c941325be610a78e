"""The commands beside `run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cheap_runners
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from bench.cli import app
from bench.command_line import for_people
from bench.records.store import Store
from bench.run.driver import RunSummary
from bench.run.progress import TimeLeft, duration
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep

ROOT = Path(__file__).parents[2]

SWEEP = """
name = "small"
kinds = ["performance"]
[model]
name = "ast_tiny"
[grid]
r = [0, 10]
batch_size = [1, 8]
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SWEEP)
    return path


def store_records(sweep, results, make) -> list[str]:
    cells = expand(load_sweep(sweep))
    store = Store(results, "abacus", "small")
    for cell, status in zip(cells, ("ok", "error"), strict=False):
        store.write(make(cell, status=status))
    return [cell.id for cell in cells]


@pytest.fixture
def make():
    from test_store import make

    return make


def test_status_counts_what_is_done_failed_and_left(sweep, tmp_path, make):
    results = tmp_path / "results"
    shown = CliRunner().invoke(app, ["status", str(sweep), "--results", str(results)])
    assert "small: 4 cells, no records in" in shown.output
    store_records(sweep, results, make)
    shown = CliRunner().invoke(app, ["status", str(sweep), "--results", str(results)])
    assert shown.exit_code == 0
    assert "small on abacus: 4 cells: 1 error, 2 left, 1 ok" in shown.output


def test_status_of_a_sweep_whose_engines_run_on_cpus_only(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTAST_CACHE", str(tmp_path))
    shown = CliRunner().invoke(app, ["status", "cpu_engines", "--results", str(tmp_path / "results")])
    assert shown.exit_code == 0, shown.output
    assert "cpu_engines: 30 cells, no records in" in shown.output
    anywhere = ["-s", 'grid.device=["auto"]', "--results", str(tmp_path / "results")]
    shown = CliRunner().invoke(app, ["status", "cpu_engines", *anywhere])
    assert "cpu_engines: 30 cells, no records in" in shown.output, shown.output


def test_export_writes_a_row_for_every_record(sweep, tmp_path, make):
    ids = store_records(sweep, tmp_path / "results", make)
    out = tmp_path / "all.csv"
    shown = CliRunner().invoke(app, ["export", "--results", str(tmp_path / "results"), "--out", str(out)])
    assert shown.exit_code == 0
    assert sorted(pd.read_csv(out).cell.astype(str)) == sorted(ids[:2])


def test_export_overwrites_nothing_where_there_are_no_records(sweep, tmp_path, make):
    out = tmp_path / "all.csv"
    out.write_text("dear\n")
    shown = CliRunner().invoke(app, ["export", "--results", str(tmp_path / "resluts"), "--out", str(out)])
    assert shown.exit_code == 2
    assert "no records below this folder; nothing was written" in shown.output.replace("\n", " ")
    assert out.read_text() == "dear\n"
    store_records(sweep, tmp_path / "results", make)
    assert CliRunner().invoke(app, ["export", "--results", str(tmp_path / "results")]).exit_code == 0
    assert (tmp_path / "results/cells.csv").is_file()


def test_a_bad_record_ends_a_command_with_its_name_and_exit_code_1(sweep, tmp_path, make):
    store_records(sweep, tmp_path / "results", make)
    path = next((tmp_path / "results").rglob("*.json"))
    path.write_text("{")
    for command in (["status", str(sweep)], ["export"]):
        shown = CliRunner().invoke(app, [*command, "--results", str(tmp_path / "results")])
        assert shown.exit_code == 1
        assert f"{path.name}: not a whole JSON file" in shown.output


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("noisy", 0), ("implausible", 1), ("timeout", 1)])
def test_the_exit_code_of_a_run_tells_of_failures(sweep, tmp_path, monkeypatch, status, code):
    for summary in (RunSummary(measured=Counter({status: 4})), RunSummary(before=Counter({status: 4}))):
        monkeypatch.setattr("bench.run.driver.run_sweep", lambda *_, found=summary, **__: found)
        shown = CliRunner().invoke(app, ["run", str(sweep), "--results", str(tmp_path)])
        assert shown.exit_code == code
        assert f"4 {status}" in shown.output
        assert shown.stderr == ""  # the exit itself is no message


@pytest.mark.parametrize("ending", [typer.Exit(0), typer.Exit(2), typer.Abort()])
def test_an_exit_passes_through_as_it_is(ending, capsys):
    with pytest.raises(type(ending)) as raised, for_people():
        raise ending
    assert raised.value is ending
    assert capsys.readouterr().err == ""


def complete(*lines: str) -> list[list[str]]:
    """What one bash offers after each line, of which the last word is not finished."""
    script = f'eval "$({sys.executable} -m bench completion bash)"\n'
    for words in lines:
        script += f"""
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=()
_bench_completion
printf '%s\\n' "${{COMPREPLY[@]}}" ---
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True, env=environment)
    return [offered.split() for offered in done.stdout.split("---\n")[:-1]]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_options_sweeps_and_cells():
    python = f"{sys.executable} -m bench"
    first = next(cell for cell in expand(load_sweep(find_sweep("smoke"))) if cell.kind == "performance")
    option, sweep, cell, other = complete(
        f"{python} run default --lau",
        f"{python} run defa",
        f"{python} profile smoke {first.id[:6]}",
        f"{sys.executable} -m pytest ru",
    )
    assert "--launcher" in option
    assert (sweep, cell, other) == (["default"], [first.id], [])


def test_the_time_left_is_counted_by_kind():
    fast, slow = cheap_runners.cell("fine"), cheap_runners.cell("fine", kind="quality")
    left = TimeLeft([fast, fast, fast, slow, slow])
    assert left.estimate() is None
    left.done("performance", 2.0)
    assert left.estimate() == 2 * 2.0 + 2 * 2.0  # of quality nothing is known yet
    left.done("quality", 10.0)
    assert left.estimate() == 2 * 2.0 + 10.0


@pytest.mark.parametrize(("seconds", "text"), [(44.6, "45 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_times_are_written_for_people(seconds, text):
    assert duration(seconds) == text


def test_the_old_name_of_gather_says_the_new_one():
    shown = CliRunner().invoke(app, ["merge", "laptop/results", "--into", "results"])
    assert shown.exit_code == 2
    assert shown.stderr.count("\n") == 1
    assert "python -m bench gather" in shown.stderr
    assert "merge" not in CliRunner().invoke(app, ["--help"]).stdout.split()
