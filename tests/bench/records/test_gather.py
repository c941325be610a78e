"""Results of several machines in one folder: everything arrives, nothing is overwritten unasked."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cheap_runners
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.records.gather import GatherError, gather_results
from bench.records.store import Store, read_records

CELLS = [cheap_runners.cell("fine", number) for number in range(3)]


@pytest.fixture
def laptop(tmp_path):
    """Results of three cells of one machine."""
    folder = tmp_path / "laptop"
    cheap_runners.run(CELLS, folder, io.StringIO())
    return folder


def of_machine(folder: Path, key: str, into: Path) -> Path:
    """The same results as another machine would have them."""
    for record in read_records(folder):
        machine = record.machine.model_copy(update={"key": key})
        Store(into, key, record.sweep).write(record.model_copy(update={"machine": machine}))
    return into


def later(folder: Path, into: Path, *, seconds: int = 60) -> Path:
    """The same cells on the same machine, measured anew."""
    for record in read_records(folder):
        finished = record.finished + timedelta(seconds=seconds)
        Store(into, record.machine.key, record.sweep).write(record.model_copy(update={"finished": finished}))
    return into


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_of_two_machines_stand_side_by_side(laptop, tmp_path):
    server = of_machine(laptop, "server", tmp_path / "server")
    into = tmp_path / "all"
    gathered = gather_results([laptop, server], into)
    assert (gathered.new, gathered.identical, gathered.replaced, gathered.kept) == (6, 0, 0, 0)
    assert gathered.machines == ("cpu-abacus-1-threads", "server")
    assert sorted(record.machine.key for record in read_records(into)) == ["cpu-abacus-1-threads"] * 3 + ["server"] * 3
    for key in gathered.machines:
        assert len(pd.read_csv(into / key / "cheap" / "cells.csv")) == 3
    # A run over the gathered folder finds its cells there.
    assert cheap_runners.run(CELLS, into, io.StringIO()).before.total() == 3


def test_the_same_records_again_change_nothing(laptop, tmp_path):
    into = tmp_path / "all"
    gather_results([laptop], into)
    before = content(into)
    assert gather_results([laptop], into).identical == 3
    path = next(laptop.rglob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_text())))  # the same, written in another way
    assert gather_results([laptop], into).identical == 3
    assert content(into) == before


def test_different_records_of_one_cell_are_refused_until_somebody_chooses(laptop, tmp_path):
    again, into = later(laptop, tmp_path / "again"), tmp_path / "all"
    gather_results([laptop], into)
    before = content(into)
    message = "different records of one cell .* --keep ours, --keep theirs or --keep newer"
    with pytest.raises(GatherError, match=message) as told:
        gather_results([again], into)
    assert len([line for line in str(told.value).splitlines() if "different records" in line]) == 3
    assert str(told.value).endswith("nothing was written")
    assert gather_results([again], into, keep="ours").kept == 3
    assert content(into) == before
    assert gather_results([later(laptop, tmp_path / "older", seconds=-60)], into, keep="newer").kept == 3
    assert content(into) == before
    assert gather_results([again], into, keep="newer").replaced == 3
    assert {record.finished for record in read_records(into)} == {record.finished for record in read_records(again)}
    assert gather_results([laptop], into, keep="theirs").replaced == 3
    assert {record.finished for record in read_records(into)} == {record.finished for record in read_records(laptop)}


def test_two_sources_that_differ_are_a_conflict_too(laptop, tmp_path):
    with pytest.raises(GatherError, match="different records of one cell"):
        gather_results([laptop, later(laptop, tmp_path / "again")], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw | {"schema_version": 99}, "is of schema 99"),
        (lambda raw: raw | {"cell": raw["cell"] | {"question": {"kind": "performance"}}}, "was edited"),
        (lambda raw: raw | {"machine": raw["machine"] | {"key": "../elsewhere"}}, "cannot be the name of a folder"),
        (lambda raw: {"half": 1}, "has no schema_version"),
    ],
)
def test_a_bad_record_stops_the_merge_before_anything_is_written(laptop, tmp_path, spoil, message):
    path = sorted(laptop.rglob("*.json"))[1]
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(GatherError, match=message) as told:
        gather_results([laptop], tmp_path / "all")
    assert path.name in str(told.value)
    assert not (tmp_path / "all").exists()


def test_every_problem_is_told_at_once(laptop, tmp_path):
    for path in laptop.rglob("*.json"):
        path.write_text("{")
    with pytest.raises(GatherError) as told:
        gather_results([laptop, tmp_path / "nowhere", tmp_path / "all"], tmp_path / "all")
    lines = str(told.value).splitlines()
    assert sum("not a whole JSON file" in line for line in lines) == 3
    assert any("nowhere: no such folder" in line for line in lines)


def test_predictions_travel_with_their_record_and_must_be_whole(tmp_path, monkeypatch):
    from shallow_model import use_shallow_models
    from test_worker import quality_cell

    from bench.cell import worker
    from bench.cell.answers import Context
    from bench.run.isolation import Outcome
    from bench.run.recording import describe_suite, make_record

    use_shallow_models(monkeypatch)
    cell, _, features = quality_cell(tmp_path)
    answer = worker.answer(cell, Context(features=features))
    record = make_record(
        "cheap", cell, Outcome(status="ok", value=answer), describe_suite(), answer.machine, answer.software, (),
        started=datetime.now(UTC), load_before=None,
    )  # fmt: skip
    store = Store(tmp_path / "gpu", record.machine.key, "cheap")
    store.write_predictions(cell.id, answer.predictions, answer.hashes)
    store.write(record)
    gather_results([tmp_path / "gpu"], tmp_path / "all")
    copy = Store(tmp_path / "all", record.machine.key, "cheap").predictions_path(cell.id)
    assert copy.read_bytes() == store.predictions_path(cell.id).read_bytes()

    path = store.predictions_path(cell.id)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GatherError, match=f"{cell.id}.npz"):
        gather_results([tmp_path / "gpu"], tmp_path / "new")
    path.unlink()
    with pytest.raises(GatherError, match="is missing"):
        gather_results([tmp_path / "gpu"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_a_run_writes_to_is_left_alone(laptop, tmp_path):
    server = of_machine(laptop, "server", tmp_path / "server")
    with Store(tmp_path / "all", "server", "cheap").lock(), pytest.raises(ValueError, match="another run writes here"):
        gather_results([server], tmp_path / "all")


def test_the_command_tells_what_it_did(laptop, tmp_path):
    into = tmp_path / "all"
    command = ["gather", str(laptop), "--into", str(into)]
    shown = CliRunner().invoke(app, [*command, "--dry-run"])
    assert shown.exit_code == 0
    assert "3 new, 0 identical, 0 replaced, 0 kept as they were" in shown.output
    assert "nothing was written (--dry-run)" in shown.output
    assert not into.exists()
    assert CliRunner().invoke(app, command).exit_code == 0
    shutil.rmtree(laptop)
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 1
    assert "laptop: no such folder" in shown.output
