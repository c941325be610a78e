"""Runs with a limit of time: nothing starts that would not end, the most telling first, and what is left is told."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import replace

import cheap_runners
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.records.store import read_records
from bench.run.budget import MARGIN, Budget
from bench.run.driver import Options, run_sweep
from bench.run.isolation import Isolation
from bench.run.launchers import Runners
from bench.run.launchers.local import LocalLauncher
from bench.run.progress import Progress
from bench.sweep.complaints import ConfigError
from bench.sweep.expansion import expand
from bench.sweep.file import find_sweep, load_sweep


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_cell_is_expected_to_take_as_long_as_those_of_its_kind():
    clock = Clock()
    budget = Budget(2.0, clock)
    cell, large, quality = (
        cheap_runners.cell("fine"),
        replace(cheap_runners.cell("fine"), batch_size=64),
        cheap_runners.cell("fine", kind="quality"),
    )
    # Nothing is known: 20 s for its start, 2 to 20 s of rounds; of three arms 0 to 5 s of warm-up and 1 s of energy.
    assert budget.expected(cell) == 20.0 + 11.0 + 3 * (2.5 + 1.0)
    budget.took(cell, 8.0)
    budget.took(cell, 4.0)
    assert budget.expected(cell) == MARGIN * 8.0
    assert budget.expected(large) == MARGIN * 8.0  # the best that is known of timings
    budget.took(large, 40.0)
    assert (budget.expected(large), budget.expected(cell)) == (MARGIN * 40.0, MARGIN * 8.0)
    assert budget.expected(quality) == 60.0
    assert budget.left() == 120.0
    clock.time += 100.0
    assert budget.allows(cell)
    assert not budget.allows(large)
    clock.time += 100.0
    assert budget.left() == 0.0
    assert not budget.allows(cell)


class SpentBudget(Budget):
    """Minutes of which each cell that ends takes so many seconds, however long it really took."""

    def __init__(self, minutes: float, cell_seconds: float) -> None:
        self.clock = Clock()
        self.cell_seconds = cell_seconds
        super().__init__(minutes, self.clock)

    def took(self, cell, seconds: float) -> None:
        self.clock.time += self.cell_seconds
        super().took(cell, self.cell_seconds)


def test_time_counts_from_the_start_of_the_command():
    assert Budget(2.0, Clock(), used=50.0).left() == 70.0
    code = "import time; time.sleep(1); from bench.run.budget import seconds_of_this_process as s; print(s())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1.0 < float(done.stdout) < time.monotonic() - began + 0.1  # the system counts in hundredths


def go(cells, folder, budget: Budget | None, **options):
    runners = Runners(probe="cheap_runners:probe", prepare="cheap_runners:prepare", answer="cheap_runners:answer")
    launcher = LocalLauncher(Isolation(preload=("bench.sweep.cells", "bench.cell.answers")), runners, budget)
    with Progress(io.StringIO()) as progress:
        asked = Options(results=folder, cache=folder, **options)
        return run_sweep("cheap", cells, asked, progress=progress, launcher=launcher)


def test_no_cell_starts_that_would_not_end_and_the_same_command_goes_on(tmp_path):
    cells = [cheap_runners.cell("fine", number) for number in range(6)]
    # Of 5 minutes, the first cell is expected to take 41.5 seconds, the others 1.25 * 80.
    summary = go(cells, tmp_path, SpentBudget(5.0, 80.0))
    assert summary.measured == {"ok": 3}  # after three, 60 seconds are left
    assert summary.left == tuple(cells[3:])
    assert str(summary).endswith("3 left")
    assert not summary.failed
    assert len(read_records(tmp_path)) == 3
    summary = go(cells, tmp_path, None)
    assert (summary.measured, summary.before, summary.left) == ({"ok": 3}, {"ok": 3}, ())


def test_a_cell_that_overruns_is_ended_without_a_record(tmp_path):
    cells = [cheap_runners.cell("fine"), cheap_runners.cell("sleep:60", 1)]
    budget = SpentBudget(5.0, 299.0)
    budget.allows = lambda cell: True  # an estimate that was too short
    began = time.monotonic()
    summary = go(cells, tmp_path, budget)
    assert time.monotonic() - began < 45
    assert (summary.measured, summary.left) == ({"ok": 1}, (cells[1],))
    assert len(read_records(tmp_path)) == 1


def test_a_crash_says_nothing_about_how_long_a_cell_takes(tmp_path):
    budget = SpentBudget(5.0, 1.0)
    asked = budget.expected(cheap_runners.cell("fine"))
    go([cheap_runners.cell("raise"), cheap_runners.cell("memory", 1)], tmp_path, budget)
    assert budget.expected(cheap_runners.cell("fine")) == asked


def test_a_disturbed_cell_that_there_is_no_time_to_measure_again_is_left(tmp_path):
    log = tmp_path / "log"
    cells = [cheap_runners.cell("disturbed:1", log=log), cheap_runners.cell("calm", 1, log=log)]
    summary = go(cells, tmp_path / "results", SpentBudget(5.0, 100.0))
    assert summary.measured == {"disturbed": 1, "ok": 1}
    assert summary.left == (cells[0],)
    summary = go(cells, tmp_path / "results", None)
    assert (summary.measured, summary.before, summary.left) == ({"ok": 1}, {"ok": 1}, ())


def test_a_cell_that_was_to_be_measured_again_is_left_once_and_its_old_record_counts(tmp_path):
    log = tmp_path / "log"
    cells = [cheap_runners.cell("calm", 1, log=log), cheap_runners.cell("disturbed:9", log=log)]
    cells.append(cheap_runners.cell("raise", 2, log=log))
    results = tmp_path / "results"
    go(cells[2:], results, None)
    go(cells[1:2], results, SpentBudget(5.0, 280.0))  # no time to measure the disturbed one again
    assert {record.status for record in read_records(results)} == {"disturbed", "error"}
    nothing = Budget(5.0)
    nothing.allows = lambda cell: False
    summary = go(cells, results, nothing, retry_failed=True)
    assert sorted(cell.id for cell in summary.left) == sorted(cell.id for cell in cells)
    assert summary.failed  # as the record of the last one stands


def test_a_cell_whose_reference_was_left_is_left_too(tmp_path):
    unmerged = cheap_runners.cell("fine", kind="quality")
    merged = [cell for cell in expand(load_sweep(find_sweep("smoke"))) if cell.reduction and cell.kind == "quality"]
    merged = replace(merged[0], model=unmerged.model, data=unmerged.data, measure=unmerged.measure, dtype="float32")
    assert merged.compared_with().id == unmerged.id
    runners = Runners(probe="cheap_runners:probe", prepare="cheap_runners:prepare", answer="cheap_runners:answer")
    budget = Budget(5.0)
    budget.allows = lambda cell: cell.reduction is not None
    launcher = LocalLauncher(Isolation(preload=("bench.sweep.cells",)), runners, budget)
    with Progress(io.StringIO()) as progress:
        options = Options(results=tmp_path, cache=tmp_path)
        summary = run_sweep("cheap", [unmerged, merged], options, progress=progress, launcher=launcher)
    assert summary.left == (unmerged, merged)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_are_a_number_above_0(minutes):
    shown = CliRunner().invoke(app, ["run", "smoke", f"--minutes={minutes}", "--dry-run"])
    assert shown.exit_code == 2
    assert f"--minutes {minutes}: give a number above 0" in shown.output


def test_minutes_are_for_this_machine():
    shown = CliRunner().invoke(app, ["run", "smoke", "--minutes", "5", "--launcher", "ray", "--dry-run"])
    assert shown.exit_code == 2
    assert "--minutes does nothing with --launcher ray" in shown.output


PRIORITY = """
name = "ordered"
kinds = ["performance", "quality"]
[grid]
r = [0, 10, 20, 40]
batch_size = [1, 8]
[data]
clips = 8
[[priority]]
kind = "performance"
batch_size = 8
r = [0, 40]
[[priority]]
kind = "quality"
r = 20
"""


def asked(cell) -> tuple:
    r = cell.reduction.schedule.r if cell.reduction else 0
    return cell.kind, r, cell.batch_size


def test_cells_of_the_first_table_come_first_and_what_they_are_compared_with_before_them(tmp_path):
    path = tmp_path / "ordered.toml"
    path.write_text(PRIORITY)
    order = [asked(cell) for cell in expand(load_sweep(path))]
    assert order[:2] == [("performance", 0, 8), ("performance", 40, 8)]
    assert order[2:4] == [("quality", 0, None), ("quality", 20, None)]  # the first is what the second is compared with
    plain = [asked(cell) for cell in expand(load_sweep(path, ["priority=[]"]))]
    assert sorted(map(str, order)) == sorted(map(str, plain))
    assert plain[0] == ("quality", 0, None)


def test_priority_is_no_part_of_a_question(tmp_path):
    path = tmp_path / "ordered.toml"
    path.write_text(PRIORITY)
    assert {cell.id for cell in expand(load_sweep(path))} == {
        cell.id for cell in expand(load_sweep(path, ["priority=[]"]))
    }


def test_a_priority_that_matches_nothing_is_refused(tmp_path):
    path = tmp_path / "ordered.toml"
    path.write_text(PRIORITY.replace('kind = "quality"', 'knd = "quality"'))
    with pytest.raises(ConfigError, match="priority.1.knd: unknown key; did you mean 'kind'"):
        load_sweep(path)
    path.write_text(PRIORITY)
    load_sweep(path, ["grid.r=[0, 10]"])  # an override that leaves nothing of a table is no mistake
    path.write_text(PRIORITY.replace("r = 20", "r = 200"))
    with pytest.raises(ConfigError, match=r"priority.1.r: 200 is not in the grid"):
        load_sweep(path, ["seed=1"])  # which is not about r
    with pytest.raises(ConfigError, match=r"priority.1.r: 200 is not in the grid, which has 0, 10, 20, 40"):
        load_sweep(path)
