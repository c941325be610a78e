"""Comparing two sides: the statistics against SciPy's and hand counts, and what the command says and returns."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import cheap_runners
import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from typer.testing import CliRunner

from bench.cli import app
from bench.compare import revisions
from bench.compare.comparison import compare_sides
from bench.compare.samples import FAILED, Sample, load_side
from bench.compare.statistics import (
    holm,
    probability_larger,
    ratio_of_independent_medians,
    samples_needed,
    smallest_p,
)
from bench.records.store import Store
from bench.run.driver import FAILURES
from bench.sweep.complaints import ConfigError

ROOT = Path(__file__).parents[3]


def rounds(median: float, count: int = 20, *, seed: int) -> tuple[float, ...]:
    return tuple(median * np.random.default_rng(seed).normal(1, 0.02, count))


def side(machine: str = "abacus", **cells: tuple[float, ...]) -> dict[tuple[str, str], Sample]:
    return {(machine, cell): Sample(title=cell, machine=machine, rounds=values) for cell, values in cells.items()}


def outcomes(*sides, **options) -> dict[str, str]:
    return {row.cell: row.outcome for row in compare_sides(*sides, **options).rows}


def test_a_slower_cell_is_told_from_a_faster_an_equal_and_one_below_the_threshold():
    a = side(**{name: rounds(1.0, seed=i) for i, name in enumerate(("slow", "fast", "equal"))}, tiny=(1.0,) * 20)
    b = side(
        slow=rounds(1.1, seed=11), fast=rounds(0.9, seed=12), equal=rounds(1.0, seed=13), tiny=(1.02,) * 20
    )  # fmt: skip
    assert outcomes(a, b) == {"slow": "slower", "fast": "faster", "equal": "same", "tiny": "same"}
    assert outcomes(a, b, threshold=0.01)["tiny"] == "slower"
    assert outcomes(a, b, threshold=0.2)["slow"] == "same"
    assert compare_sides(a, b).slower == 1


def test_what_is_said_of_a_cell():
    a, b = (1.0, 2.0, 3.0, 4.0), (2.5, 3.5, 10.0, 12.0)
    (row,) = compare_sides(side(x=a), side(x=b)).rows
    wins = sum(y > x for x in a for y in b) - sum(y < x for x in a for y in b)
    assert row.delta == wins / 16 == (2 + 3 + 4 + 4 - 2 - 1) / 16
    assert probability_larger(row.delta) == (2 + 3 + 4 + 4) / 16
    # Of the 70 ways to rank four among eight, those at least as far from the middle as U = 13 (of 16):
    assert row.p == pytest.approx(mannwhitneyu(b, a).pvalue)
    assert row.p == pytest.approx(2 * 7 / 70)
    assert row.median == (2500, 6750)
    assert row.ratio.value == 6.75 / 2.5
    assert row.ratio.low < row.ratio.value < row.ratio.high


def test_chance_alone_is_hardly_ever_called_slower():
    # 40 repetitions of 10 equal cells at alpha 0.05: about two families with a false alarm, without Holm sixteen.
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(40):
        cells = [{f"c{i}": tuple(rng.normal(1, 0.1, 12)) for i in range(10)} for _ in "ab"]
        found = outcomes(side(**cells[0]), side(**cells[1]), alpha=0.05, threshold=0.0)
        alarms += "same" not in found.values() or set(found.values()) != {"same"}
    assert alarms <= 6


def test_holm_on_a_worked_example():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for i in range(200):
        ratio = ratio_of_independent_medians(rng.normal(1.2, 0.1, 25), rng.normal(1, 0.1, 25), seed=i, replicates=400)
        held += ratio.low <= 1.2 <= ratio.high
    assert 0.9 <= held / 200 <= 0.99


def test_so_many_samples_are_needed_and_no_fewer():
    for cells, alpha in ((1, 0.002), (3, 0.002), (10, 0.002), (40, 0.05)):
        needed = samples_needed(cells, alpha)
        values = list(range(2 * needed))
        p = mannwhitneyu(values[needed:], values[:needed], method="exact").pvalue
        fewer = mannwhitneyu(values[needed - 1 : 2 * needed - 2], values[: needed - 1], method="exact").pvalue
        assert p * cells <= alpha < fewer * cells
    assert [samples_needed(cells, 0.002) for cells in (3, 10)] == [7, 8]  # as the documents have it


def test_too_few_rounds_are_told_instead_of_called_the_same():
    assert smallest_p((3, 3)) == pytest.approx(mannwhitneyu([4, 5, 6], [1, 2, 3]).pvalue)
    compared = compare_sides(side(x=(1.0, 1.1, 1.2)), side(x=(9.0, 9.1, 9.2)))
    assert [row.outcome for row in compared.rows] == ["too few samples"]
    assert compared.exit_code == 3
    assert compared.notes == (
        "1 of 1 cells have too few rounds to show any difference: among so many cells, and at an alpha of 0.002, each "
        "side needs 7",
    )


def beside(relative: float, absolute: float = 1.0, *, seed: int) -> Sample:
    """A process that is so much slower than another, and a candidate that is beside the arm of its rounds."""
    values = rounds(relative, seed=seed)
    return Sample(title="x", machine="m", relative=values, rounds=tuple(absolute * value for value in values))


@pytest.mark.parametrize(
    ("relative", "process", "outcome"),
    [
        (1.0, 1.15, "same"),  # the process is slow, and with it both arms
        (1.0, 0.85, "same"),
        (1.0, 1.4, "slower with all arms"),  # no process is so slow by luck
        (1.15, 1.0, "slower"),
        (0.85, 1.0, "faster"),
        (1.15, 1 / 1.15, "same"),  # the arm has become faster, the candidate is as it was
        (1.15, 0.7, "same"),  # they contradict each other
    ],
)
def test_a_cell_is_slower_where_its_times_and_its_ratios_say_so(relative: float, process: float, outcome: str):
    key = ("m", "x")
    compared = compare_sides({key: beside(1.0, seed=0)}, {key: beside(relative, process, seed=1)})
    assert [row.outcome for row in compared.rows] == [outcome]
    assert compared.rows[0].relative.value == pytest.approx(relative, rel=0.02)
    assert "judged by times and by ratios to 'unmerged'" in compared.notes[0]
    times_alone = compare_sides(*({key: replace(one, relative=())} for one in (
        beside(1.0, seed=0), beside(relative, process, seed=1)
    )))  # fmt: skip
    usual = relative * process
    assert times_alone.rows[0].outcome == ("slower" if usual > 1.05 else "faster" if usual < 0.95 else "same")
    assert "cannot tell from the code" in times_alone.notes[0]


def test_processes_of_the_same_code_are_not_told_apart_and_other_code_is():
    """Every process is a few per cent fast or slow: 60 pairs of the same code, and 60 of code that is slower."""
    rng, key, found = np.random.default_rng(5), ("m", "x"), {1.0: [], 1.1: []}
    for slowdown, outcomes_of in found.items():
        for i in range(60):
            luck = rng.normal(1, 0.05, 2)
            sides = [{key: beside(r, luck[j], seed=1000 + 2 * i + j)} for j, r in enumerate((1.0, slowdown))]
            outcomes_of.append(compare_sides(*sides, alpha=0.05).rows[0].outcome)
    assert found[1.0].count("same") >= 58
    assert found[1.1].count("slower") >= 40


def test_published_records_of_one_commit_are_not_told_apart():
    """Sweeps of this project's results that hold the same cells, measured by the same code on the same machine."""
    from itertools import permutations

    root = ROOT / "results/cpu-intel-xeon-avx512-2-threads"
    sides = [load_side(root / f"ablation_{name}") for name in ("heads", "place", "proportional", "similarity")]
    compared = [compare_sides(a, b) for a, b in permutations(sides, 2) if set(a) & set(b)]
    assert len(compared) >= 6
    assert {row.outcome for one in compared for row in one.rows} == {"same"}


def test_cells_of_one_side_are_listed():
    a, b = side(x=(1.0,) * 9, y=(1.0,) * 9), side(x=(1.0,) * 9, z=(1.0,) * 9)
    assert compare_sides(a, b).only == ("only in A: y (y, abacus)", "only in B: z (z, abacus)")


def test_different_machines_are_refused_unless_asked_for_and_then_labelled():
    a, b = side("abacus", x=rounds(1.0, seed=1)), side("slide-rule", x=rounds(2.0, seed=2))
    with pytest.raises(ConfigError, match="A is of abacus, B of slide-rule"):
        compare_sides(a, b)
    compared = compare_sides(a, b, allow_different_machines=True)
    assert [row.machine for row in compared.rows] == ["DIFFERENT: abacus / slide-rule"]
    assert any("of different machines" in note for note in compared.notes)
    # Where a machine is in both, its cells are compared and the others are not paired across machines.
    both = compare_sides(a | side("slide-rule", x=rounds(1.0, seed=3)), b, allow_different_machines=True)
    assert [row.machine for row in both.rows] == ["slide-rule"]
    assert both.only == ("only in A: x (x, abacus)",)


def write(
    folder, times: dict[int, tuple[float, ...]], *, sweep: str = "one", unmerged: tuple[float, ...] | None = None
):
    """Records of cells with these seconds."""
    from test_store import make

    for number, seconds in times.items():
        cell = cheap_runners.cell("fine", number)
        record = make(cell, status="ok")
        part = cheap_runners.performance(seconds, unmerged or seconds)
        Store(folder, record.machine.key, sweep).write(record.model_copy(update={"performance": part}))


def run(*arguments: str):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_folders_are_compared_and_a_slower_cell_is_exit_code_1(tmp_path):
    a, b, table, text = tmp_path / "a", tmp_path / "b", tmp_path / "t.csv", tmp_path / "t.md"
    write(a, {0: rounds(1.0, seed=0), 1: rounds(1.0, seed=1)})
    write(b, {0: rounds(1.5, seed=2), 1: rounds(1.0, seed=3)})
    unjudged = run(a, a / "nowhere")
    assert unjudged.exit_code == 2
    done = run(a, b, "--csv", table, "--markdown", text, "--relative-to", "none")
    assert done.exit_code == 1, done.output
    assert "2 cells: 1 slower in B, 0 faster in B" in done.output
    with table.open() as file:
        slower, same = csv.DictReader(file)
    assert (slower["outcome"], same["outcome"]) == ("slower", "same")
    assert float(slower["ratio"]) == pytest.approx(1.5, rel=0.02)
    assert text.read_text().count("| slower |") == 1
    assert run(b, a, "--relative-to", "none").exit_code == 0  # faster is no failure
    assert run(a, a).exit_code == 0


@pytest.mark.parametrize(
    "given", [("--cell", "r40-batch1"), ("--launches", "8"), ("--rounds", "4"), ("--threads", "1"), ("--device", "cpu")]
)
def test_what_only_says_how_revisions_are_timed_is_refused_for_folders(tmp_path, given):
    write(tmp_path / "a", {0: rounds(1.0, seed=0)})
    done = run(tmp_path / "a", tmp_path / "a", *given)
    assert done.exit_code == 2, done.output
    assert f"{given[0]} is for git revisions" in " ".join(done.output.split())


def test_relative_to_an_arm_drift_of_the_machine_does_not_count(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, {0: rounds(1.0, seed=0)}, unmerged=rounds(3.0, seed=1))
    write(b, {0: rounds(2.0, seed=2)}, unmerged=rounds(6.0, seed=3))
    alone = run(a, b, "--relative-to", "none")
    assert alone.exit_code == 1
    assert "1 cell judged by times alone" in alone.output
    both = run(a, b)
    assert both.exit_code == 1  # twice as slow, whatever did it, does not pass
    assert "slower with all arms" in both.output
    times = np.median(rounds(2.0, seed=2)) / np.median(rounds(1.0, seed=0))
    assert f"over these cells the median of B / A is {times:.3f} from times and 1.0" in both.output.replace("\n", " ")
    assert run(a, b, "--relative-to", "unmerged").exit_code == 0
    missing = run(a, b, "--relative-to", "slice")
    assert missing.exit_code == 2
    assert "no record of a performance cell with the arm 'slice'" in missing.output


def write_best(folder, batch_size: int, seconds: tuple[float, ...]):
    """A record of a cell whose batch size was searched."""
    from test_store import make

    from bench.measure.best_batch import Search, Trial

    part = cheap_runners.performance(seconds, seconds)
    arms = {name: arm.model_copy(update={"batch_size": batch_size}) for name, arm in part.arms.items()}
    found = Search(best=batch_size, ended="limit", trials=(Trial(batch_size=batch_size, clips_per_s=1.0),))
    part = part.model_copy(update={"arms": arms, "search": dict.fromkeys(arms, found)})
    record = make(replace(cheap_runners.cell("fine"), batch_size="best"), status="ok")
    record = record.model_copy(update={"performance": part})
    Store(folder, record.machine.key, "best").write(record)


def test_cells_of_different_best_batches_are_compared_per_clip(tmp_path):
    a, b, table = tmp_path / "a", tmp_path / "b", tmp_path / "t.csv"
    write_best(a, 4, rounds(4.0, seed=0))
    write_best(b, 8, rounds(6.0, seed=1))  # a batch takes longer, a clip a quarter less
    done = run(a, b, "--csv", table, "--relative-to", "none")
    assert done.exit_code == 0, done.output
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["outcome"], row["unit"]) == ("faster", "ms per clip")
    assert float(row["median_a"]) == pytest.approx(1000, rel=0.02)
    assert float(row["ratio"]) == pytest.approx(0.75, rel=0.03)
    assert "best batch float32 (4 / 8)" in row["what"]


def write_status(folder, statuses: dict[int, str]):
    """Records of cells that ended so; what failed has no times."""
    from test_store import make

    for number, status in statuses.items():
        record = make(cheap_runners.cell("fine", number), status="ok")
        times = cheap_runners.performance(rounds(1.0, seed=number), rounds(2.0, seed=50 + number))
        part = None if status in ("error", "oom", "timeout") else times
        record = record.model_copy(update={"performance": part, "status": status, "message": status})
        Store(folder, record.machine.key, "one").write(record)


def test_the_statuses_that_fail_here_are_those_that_fail_a_run():
    assert set(FAILED) == set(FAILURES)


@pytest.mark.parametrize("status", FAILURES)
def test_a_cell_that_stops_working_is_a_regression(status: str, tmp_path):
    a, b, table = tmp_path / "a", tmp_path / "b", tmp_path / "t.csv"
    write_status(a, {0: "ok", 1: "disturbed", 2: "ok"})
    write_status(b, {0: status, 1: status, 2: "ok"})
    done = run(a, b, "--csv", table)
    assert done.exit_code == 1, done.output
    assert "3 cells: 0 slower in B, 0 faster in B, 2 broken in B" in done.output
    for number in (0, 1):
        assert f"{cheap_runners.cell('fine', number).id} ({status})" in done.output
    with table.open() as file:
        assert sorted(row["outcome"] for row in csv.DictReader(file)) == ["broken", "broken", "same"]
    back = run(b, a)  # what works again is no failure
    assert back.exit_code == 0, back.output
    assert "2 of 3 cells failed in A, so that nothing is judged" in back.output
    assert run(a, b, "--relative-to", "unmerged").exit_code == 1
    assert run(a, b, "--relative-to", "slice").exit_code == 2


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("disturbed", "ok", "were disturbed on one side"),
        ("ok", "disturbed", "were disturbed on one side"),
        ("error", "error", "failed in A"),
        ("oom", "ok", "failed in A"),
    ],
)
def test_where_nothing_can_be_judged_that_is_no_success(before: str, after: str, words: str, tmp_path):
    a, b, text = tmp_path / "a", tmp_path / "b", tmp_path / "t.md"
    write_status(a, {0: before})
    write_status(b, {0: after})
    done = run(a, b, "--markdown", text)
    assert done.exit_code == 3, done.output
    assert f"1 of 1 cells {words}" in done.output
    assert "0 slower in B, 0 faster in B; no cell could be judged" in done.output
    assert "nan" not in text.read_text()


@pytest.mark.parametrize(("before", "after"), [("disturbed", "ok"), ("implausible", "ok"), ("ok", "implausible")])
def test_a_cell_that_is_not_judged_is_not_among_those_judged_by_times_alone(before: str, after: str, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write_status(a, {0: "ok", 1: before})
    write_status(b, {0: "ok", 1: after})
    said = run(a, b, "--relative-to", "none").output
    assert "1 cell judged by times alone" in said
    assert "1 cell judged by times and by ratios" in run(a, b).output


def test_records_of_one_cell_are_put_together(tmp_path):
    write(tmp_path, {0: (1.0, 2.0, 3.0)}, sweep="first")
    write(tmp_path, {0: (4.0, 5.0, 6.0)}, sweep="second")
    (sample,) = load_side(tmp_path).values()
    assert sorted(sample.rounds) == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_compared_is_exit_code_2(tmp_path):
    write(tmp_path / "a", {0: (1.0,) * 9})
    write(tmp_path / "b", {1: (1.0,) * 9})
    (tmp_path / "empty").mkdir()
    for other, message in (
        ("nowhere", "neither a folder nor a git revision"),
        ("empty", "has no record of a performance cell"),
        ("b", "no cell is in both"),
    ):
        done = run(tmp_path / "a", tmp_path / other)
        assert done.exit_code == 2, done.output
        assert message in done.output
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    done = run(tmp_path / "a", head)
    assert done.exit_code == 2
    said = f"{tmp_path / 'a'} is a folder and {head} is a revision; give two folders of results, or two git revisions"
    assert said in done.output.replace("\n", " ")
    next((tmp_path / "b").rglob("*.json")).write_text("{")
    done = run(tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 2
    assert "not a whole JSON file" in done.output


FASTAST = """
import time, torch
__version__ = "0"
class Model(torch.nn.Module):
    class geometry: num_mel_bins = 4
    def forward(self, x): time.sleep({seconds})
def create_model(name, num_frames): return Model()
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose second revision is slower, and whose third is broken."""
    folder = tmp_path / "repository"
    (folder / "fastast").mkdir(parents=True)

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for name, text in (
        ("quick", FASTAST.format(seconds=0.004)),
        ("slow", FASTAST.format(seconds=0.008)),
        ("broken", "raise ImportError('no such thing')"),
    ):
        (folder / "fastast/__init__.py").write_text(text)
        git("add", ".")
        git("commit", "-qm", name)
        git("tag", name)
    monkeypatch.setattr(revisions, "ROOT", folder)
    return folder


@pytest.mark.slow
def test_revisions_are_timed_in_turns_and_the_slower_one_is_told(repository):
    options = ("--cell", "r0-batch1", "--launches", "4", "--rounds", "2", "--alpha", "0.05")
    done = run("quick", "slow", *options)
    assert done.exit_code == 1, done.output
    assert "1 cells: 1 slower in B" in done.output
    assert "1 cell judged by the medians of launches" in done.output
    single = run("quick", "slow", "--cell", "r0-batch1", "--launches", "1", "--rounds", "9")
    assert single.exit_code == 3, single.output
    assert "too few launches to show any difference" in single.output
    broken = run("quick", "broken", *options)
    assert broken.exit_code == 2
    assert "revision B cannot be timed: ImportError: no such thing" in broken.output
    status = subprocess.run(["git", "-C", str(repository), "status", "--porcelain"], capture_output=True, check=True)
    assert status.stdout == b""
    assert run("quick", "no-such-revision").exit_code == 2
    wrong = run("quick", "slow", "--cell", "r40")
    assert wrong.exit_code == 2
    assert "write tokens removed and clips as r40-batch1" in wrong.output
