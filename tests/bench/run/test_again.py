"""What was disturbed is measured again at the end of the run, once, and told when it stays so."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import cheap_runners
import pytest

from bench.records.store import read_records
from bench.run.panels import FAR, far_cells, in_doubt
from bench.run.progress import TimeLeft


@pytest.fixture
def run(tmp_path):
    """Run cells named after what they do; all are of one panel where their seeds are the same."""
    log = tmp_path / "log"

    def go(*what: str, **options):
        cells = [cheap_runners.cell(name, log=log) for name in what]
        stream = io.StringIO()
        summary = cheap_runners.run(cells, tmp_path / "results", stream, **options)
        order = [line.split()[0] for line in log.read_text().splitlines()]
        names = {cell.id: name for cell, name in zip(cells, what, strict=True)}
        return summary, [names.get(cell_id) for cell_id in order], stream.getvalue()

    go.records = lambda: {
        record.cell.question["model"]["name"]: record for record in read_records(tmp_path / "results")
    }
    return go


def test_a_disturbed_cell_is_measured_again_after_all_others_and_its_second_record_counts(run):
    summary, order, text = run("disturbed:1", "calm", "fine")
    assert order == ["disturbed:1", "calm", "fine", "disturbed:1"]
    assert summary.measured == {"ok": 3}
    record = run.records()["disturbed:1"]
    assert (record.status, record.attempt, record.message) == ("ok", 2, "")
    assert run.records()["calm"].attempt == 1
    assert "Measuring again what was disturbed: 1 of 3 cells" in text
    assert "7 of 7 rounds were disturbed" in text


def test_what_stays_disturbed_is_told_and_measured_no_third_time(run):
    summary, order, _ = run("disturbed:9", "calm")
    assert order.count("disturbed:9") == 2
    assert summary.measured == {"disturbed": 1, "ok": 1}
    assert not summary.failed  # an answer of little worth is one
    record = run.records()["disturbed:9"]
    assert (record.status, record.attempt) == ("disturbed", 2)
    assert record.message == "7 of 7 rounds were disturbed"
    again, order, _ = run("disturbed:9", "calm")
    assert (again.measured, again.before) == ({}, {"disturbed": 1, "ok": 1})
    assert order.count("disturbed:9") == 2
    retried, order, _ = run("disturbed:9", "calm", retry_failed=True)
    assert order.count("disturbed:9") == 4
    assert retried.measured == {"disturbed": 1}


def test_a_run_that_ended_before_it_could_measure_again_does_so_when_it_goes_on(run, monkeypatch):
    monkeypatch.setattr("bench.run.writer.RecordWriter.disturbed", lambda self, cells: [])
    assert run("disturbed:1", "calm")[0].measured == {"disturbed": 1, "ok": 1}
    monkeypatch.undo()
    summary, order, _ = run("disturbed:1", "calm")
    assert order == ["disturbed:1", "calm", "disturbed:1"]
    assert (summary.measured, summary.before) == ({"ok": 1}, {"ok": 1})


# Cells of one panel: the same model, so that it is the seed that makes them different cells.
def panel(tmp_path, *what: str):
    log = tmp_path / "log"
    cells = []
    for number, name in enumerate(what):
        cell = cheap_runners.cell(name, log=log)
        measure = cell.measure.model_copy(update={"rounds": 10 + number})
        model = cell.model.__class__(name=name, path=log, sha256="5a", frames=None)
        cells.append(replace(cell, measure=measure, model=model))
    return cells


def test_a_cell_whose_unmerged_model_is_far_from_its_panels_is_measured_again(tmp_path):
    cells = panel(tmp_path, "calm", "slowed:1", "calm", "calm")
    stream = io.StringIO()
    summary = cheap_runners.run(cells, tmp_path / "results", stream)
    order = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert order == [*(cell.id for cell in cells), cells[1].id]
    assert summary.measured == {"ok": 4}
    (again,) = [record for record in read_records(tmp_path / "results") if record.attempt == 2]
    assert (again.cell.id, again.status) == (cells[1].id, "ok")


def test_one_that_stays_far_is_in_doubt(tmp_path):
    cells = panel(tmp_path, "calm", "slowed:9", "calm", "calm")
    summary = cheap_runners.run(cells, tmp_path / "results", io.StringIO())
    assert summary.measured == {"ok": 3, "disturbed": 1}
    (record,) = [record for record in read_records(tmp_path / "results") if record.status == "disturbed"]
    assert record.cell.id == cells[1].id
    assert (
        record.message == "the unmerged model took 7500 ms a clip, 10.00 times its median over the 4 cells of the panel"
    )
    assert record.performance.disturbance.reasons == (record.message,)


def test_panels_are_of_one_workload_and_one_machine(tmp_path):
    cells = panel(tmp_path, "calm", "calm", "calm")
    cheap_runners.run(cells, tmp_path / "results", io.StringIO())
    first, second, third = read_records(tmp_path / "results")

    def slower(record, factor: float):
        arm = record.performance.arms["unmerged"]
        slow = arm.model_copy(update={"seconds": tuple(factor * value for value in arm.seconds)})
        part = record.performance.model_copy(update={"arms": record.performance.arms | {"unmerged": slow}})
        return record.model_copy(update={"performance": part})

    assert far_cells([first, second, slower(third, FAR + 0.01)]).keys() == {(third.machine.key, third.cell.id)}
    assert not far_cells([first, second, slower(third, FAR - 0.01)])
    assert far_cells([first, second, slower(third, 0.5)]).keys() == {(third.machine.key, third.cell.id)}
    elsewhere = slower(third, 9.0)
    elsewhere = elsewhere.model_copy(update={"machine": third.machine.model_copy(update={"key": "other"})})
    assert not far_cells([first, second, elsewhere])
    question = third.cell.question | {"workload": {"batch_size": 64}}
    larger = slower(third, 9.0).model_copy(update={"cell": third.cell.model_copy(update={"question": question})})
    assert not far_cells([first, second, larger])
    for engine, alike in (("triton", False), ("plain", True)):
        # Of the engine's own kernels the unmerged model has the attention that is asked for.
        one, other, third_of = (
            record.model_copy(
                update={
                    "cell": record.cell.model_copy(
                        update={
                            "question": record.cell.question
                            | {"attention": attention, "model": record.cell.question["model"] | {"engine": engine}}
                        }
                    )
                }
            )
            for record, attention in ((first, "auto"), (second, "auto"), (slower(third, 9.0), "fa4"))
        )
        assert bool(far_cells([one, other, third_of])) == alike
    disturbed = in_doubt(slower(third, 9.0), "told already")
    assert not far_cells([first, second, disturbed])


def test_the_time_of_measuring_again_is_in_the_estimate(run):
    left = TimeLeft([cheap_runners.cell("fine"), cheap_runners.cell("fine")])
    left.done("performance", 3.0)
    assert left.estimate() == 3.0
    left.expect("performance")
    assert left.estimate() == 6.0
    _, _, text = run("disturbed:1", "calm")
    assert [re.sub(r"\s+", "", count) for count in re.findall(r"^\[(.*?)\]", text, re.MULTILINE)] == [
        "1/3",
        "2/3",
        "3/3",
    ]


def test_samples_stay_where_the_second_time_fails(run):
    summary, order, _ = run("disturbed_then_broken", "calm")
    assert order.count("disturbed_then_broken") == 2
    assert summary.measured == {"disturbed": 1, "ok": 1}
    record = run.records()["disturbed_then_broken"]
    assert (record.status, record.attempt) == ("disturbed", 2)
    assert record.performance is not None
    assert record.message.startswith("7 of 7 rounds were disturbed; measured again, it ended with error: ")
    assert "broken the second time" in record.message
    again, order, _ = run("disturbed_then_broken", "calm")
    assert again.measured == {}


def test_one_that_is_far_and_fails_the_second_time_is_in_doubt_for_both_reasons(tmp_path):
    cells = panel(tmp_path, "calm", "slowed_then_broken:9", "calm", "calm")
    summary = cheap_runners.run(cells, tmp_path / "results", io.StringIO())
    assert summary.measured == {"ok": 3, "disturbed": 1}
    (record,) = [record for record in read_records(tmp_path / "results") if record.status == "disturbed"]
    assert (record.cell.id, record.attempt) == (cells[1].id, 2)
    far, failed = record.message.split("; ", 1)
    assert far == "the unmerged model took 7500 ms a clip, 10.00 times its median over the 4 cells of the panel"
    assert failed.startswith("measured again, it ended with error: ")
    assert "broken the second time" in failed
    assert record.performance.disturbance.reasons == (far,)
    assert record.performance.arms["unmerged"].seconds == (30.0,) * 5
