"""The records that people have: every one is still the answer to the question that today's code asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.schema import Record
from bench.records.store import read_records
from bench.sweep.cells import Cell, ModelRef, canonical
from bench.sweep.config import DataConfig, MeasureConfig
from bench.sweep.data import resolve_data
from bench.sweep.expansion import expand
from bench.sweep.file import SWEEPS, find_sweep, load_sweep
from fastast.reduction import TokenReduction

RESULTS = Path(__file__).parents[3] / "results"
RECORDS = read_records(RESULTS)
NAMES = sorted({record.sweep for record in RECORDS} & {path.stem for path in SWEEPS.iterdir()})


def asked_again(record: Record) -> Cell:
    """The cell of a record, made from its question as a sweep makes it from its file."""
    question = record.cell.question
    model, workload = question["model"], question["workload"]
    common = {
        "model": ModelRef(
            name=model.get("name", "any"),
            path=None,
            sha256=model.get("sha256"),
            frames=model.get("frames"),
            engine=model.get("engine", "plain"),
            own_length=model.get("length") == "own",
            stride=model.get("stride"),
            geometry=tuple(sorted(model.get("geometry", {}).items())),
        ),
        "reduction": question["reduction"] and TokenReduction.from_dict(question["reduction"]),
        "attention": question["attention"],
        "dtype": question["dtype"],
        "device": "cpu",
    }
    if "calibration" in question:
        common |= {"calibration": resolve_data(DataConfig(**question["calibration"]))}
    if record.cell.kind == "quality":
        data = resolve_data(DataConfig(**workload))
        return Cell(kind="quality", data=data, seed=0, measure=MeasureConfig(), **common)
    measure = MeasureConfig(**question["measure"])
    size, seed = workload["batch_size"], workload["seed"]
    return Cell(kind="performance", batch_size=size, seed=seed, measure=measure, **common)


def test_there_are_committed_records_of_both_kinds() -> None:
    assert {record.cell.kind for record in RECORDS} == {"performance", "quality"}
    assert len(RECORDS) > 50


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.sweep}-{record.cell.id}")
def test_the_id_of_a_committed_record_is_that_of_its_cell_today(record: Record) -> None:
    cell = asked_again(record)
    assert canonical(cell.question) == canonical(record.cell.question)
    assert cell.id == record.cell.id


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_sweep_still_has_the_cells_of_its_records(name: str) -> None:
    cells = expand(load_sweep(find_sweep(name)), resolve=lambda device: "cpu")
    recorded = {record.cell.id: canonical(record.cell.question) for record in RECORDS if record.sweep == name}
    asked = {cell.id: canonical(cell.question) for cell in cells}
    assert {cell_id: asked.get(cell_id) for cell_id in recorded} == recorded
