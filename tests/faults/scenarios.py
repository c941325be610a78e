"""Everything in FastAST that must survive a disk: what it does, and what a reader finds afterwards, whatever failed.

`prepare` makes what is there before, `act` is what fails, `check` is called after a fault (`done` is False: the old or
the new, whole) and after the same thing was done again (`done` is True: the new).
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
import torch

from bench.records.gather import gather_results
from bench.records.predictions import read_predictions
from bench.records.schema import Record
from bench.records.store import Store, read_record, read_records
from bench.records.table import write_table
from fastast.data.caching.cache import Cache
from fastast.data.caching.files import CacheDescription
from fastast.data.caching.making import make_cache
from fastast.data.layouts.audio_folder import AudioFolder
from fastast.data.soundscapes.cache import BlockStore, record_type
from fastast.exporting.formats import FORMATS
from fastast.system.writing import place_whole, write_whole
from fastast.training.distributed import World
from fastast.training.run_folder.checkpoint import State, latest, load_state, save_state
from fastast.training.run_folder.folder import sole_run, write_json
from fastast.training.run_folder.logging import RunLog, read_log
from fastast.tuning.measuring.journal import Journal

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One door to the disk."""

    what: str
    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    check: Callable[[Path, bool], None]
    leaves: str = ""
    """Pattern of what may be left behind: the folder's owner removes it."""


def nothing(folder: Path) -> None:
    """There is nothing before."""


# A file, and a folder


def old_file(folder: Path) -> None:
    (folder / "file").write_bytes(b"old" * 1000)


def new_file(folder: Path) -> None:
    write_whole(folder / "file", b"new" * 5000)


def check_file(folder: Path, done: bool) -> None:
    assert (folder / "file").read_bytes() in ([b"new" * 5000] if done else [b"old" * 1000, b"new" * 5000])


def new_folder(folder: Path) -> None:
    shutil.rmtree(folder / ".made", ignore_errors=True)
    (folder / ".made" / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (folder / ".made" / name).write_text(name * 500)
    if (folder / "place").exists():  # of a try that was killed when all was done
        shutil.rmtree(folder / ".made")
    else:
        place_whole(folder / ".made", folder / "place")


def check_folder(folder: Path, done: bool) -> None:
    if (folder / "place").exists() or done:
        assert {name: (folder / "place" / name).read_text() for name in ("a", "sub/b")} == {
            "a": "a" * 500,
            "sub/b": "sub/b" * 500,
        }


# Records


def committed() -> tuple[Record, Path]:
    """A quality record that is in the tree, and its predictions."""
    for path in sorted((ROOT / "results").glob("*/default/*.json")):
        record = read_record(path)
        if record.quality is not None:
            return record, path.parent / "predictions" / path.with_suffix(".npz").name
    raise AssertionError("no committed record has quality")


RECORD, PREDICTIONS = committed()


def old_record(folder: Path) -> None:
    record = RECORD.model_copy(update={"message": "old"})
    store = Store(folder / "results", record.machine.key, record.sweep)
    write_whole(store.predictions_path(record.cell.id), PREDICTIONS.read_bytes())
    store.write(record)


def new_record(folder: Path) -> None:
    store = Store(folder / "results", RECORD.machine.key, RECORD.sweep)
    with store.lock():
        predictions, hashes = read_predictions(PREDICTIONS)
        store.write_predictions(RECORD.cell.id, predictions, hashes)
        store.write(RECORD.model_copy(update={"message": "new"}))
        write_table(store.folder)


def check_records(results: Path, messages: set[str]) -> None:
    records = read_records(results)
    assert {record.message for record in records} <= messages
    for record in records:
        read_predictions(Store(results, record.machine.key, record.sweep).predictions_path(record.cell.id))


def in_the_table(results: Path) -> set[str]:
    return {row.split(",")[1] for path in results.rglob("cells.csv") for row in path.read_text().splitlines()[1:]}


def check_new_record(folder: Path, done: bool) -> None:
    check_records(folder / "results", {"new"} if done else {"old", "new"})
    assert not done or len(read_records(folder / "results")) == 1
    assert not done or in_the_table(folder / "results") == {RECORD.cell.id}


def check_replaced_record(folder: Path, done: bool) -> None:
    check_new_record(folder, done)
    assert len(read_records(folder / "results")) == 1, "the old record is lost"


def two_machines(folder: Path) -> None:
    for key in ("laptop", "server"):
        record = RECORD.model_copy(update={"machine": RECORD.machine.model_copy(update={"key": key}), "message": key})
        store = Store(folder / "theirs", key, record.sweep)
        write_whole(store.predictions_path(record.cell.id), PREDICTIONS.read_bytes())
        store.write(record)


def gather(folder: Path) -> None:
    gather_results([folder / "theirs"], folder / "ours")


def check_gathered(folder: Path, done: bool) -> None:
    check_records(folder / "ours", {"laptop", "server"})
    assert len(read_records(folder / "theirs")) == 2
    assert not done or len(read_records(folder / "ours")) == 2
    assert not done or len(in_the_table(folder / "ours/laptop")) == len(in_the_table(folder / "ours/server")) == 1


# Training


def state(step: int) -> State:
    tensors = {"model": {"weight": torch.full((40,), float(step))}, "optimiser": {"0.exp_avg": torch.ones(40) * step}}
    return State(step=step, notes={"loss": step / 10}, tensors=tensors)


def old_state(folder: Path) -> None:
    save_state(folder / "run", state(1))


def new_state(folder: Path) -> None:
    save_state(folder / "run", state(2))


def check_state(folder: Path, done: bool) -> None:
    path = latest(folder / "run")
    assert path is not None
    found = load_state(path)
    assert found.step in ((2,) if done else (1, 2))
    assert torch.equal(found.tensors["model"]["weight"], torch.full((40,), float(found.step)))
    assert not done or [path.name for path in sorted((folder / "run").iterdir())] == ["state-000000002"]


def old_log(folder: Path) -> None:
    lines = [json.dumps({"event": "loss", "step": step, "value": step}) for step in (1, 2, 3)]
    (folder / "log.jsonl").write_text("\n".join(lines) + '\n{"event": "lo')  # and half a line


def taken_back(folder: Path) -> None:
    without_board = mock.patch("fastast.training.run_folder.logging.find_spec", return_value=None)
    with sole_run(folder), without_board:
        RunLog(folder, World(), total_steps=9, step=2, quiet=True).close()


def check_log(folder: Path, done: bool) -> None:
    steps = [event["step"] for event in read_log(folder)]
    assert steps in ([[1, 2]] if done else [[1, 2, 3], [1, 2]])


def old_result(folder: Path) -> None:
    write_json(folder / "result.json", {"mAP": 0.1})


def new_result(folder: Path) -> None:
    with sole_run(folder):
        write_json(folder / "result.json", {"mAP": 0.2})


def check_result(folder: Path, done: bool) -> None:
    found = json.loads((folder / "result.json").read_text())["mAP"]
    assert found in ((0.2,) if done else (0.1, 0.2))


# The tuner's journal


def old_journal(folder: Path) -> None:
    journal = Journal(folder / "journal", {"asked": 1})
    journal.get("first", lambda: 1)
    journal.close()
    with (folder / "journal").open("a") as file:
        file.write('{"key": "sec')  # a kill left half a line


def go_on(folder: Path) -> None:
    journal = Journal(folder / "journal", {"asked": 1})
    try:
        for number, key in enumerate(("first", "second", "third"), start=1):
            assert journal.get(key, lambda number=number: number) == number
    finally:
        journal.close()


def check_journal(folder: Path, done: bool) -> None:
    lines = [line for line in (folder / "journal").read_text().splitlines(keepends=True) if line.endswith("\n")]
    question, *entries = map(json.loads, lines)
    assert question == {"question": {"asked": 1}}
    found = {entry["key"]: entry["value"] for entry in entries}
    assert found.items() <= {"first": 1, "second": 2, "third": 3}.items()
    assert "first" in found, "what was measured is lost"
    assert not done or len(found) == 3


# A cache of a data set


def sounds(folder: Path) -> None:
    for name in ("hum", "buzz"):
        for number in range(2):
            path = folder / "set" / "train" / name / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.3 * np.sin(np.arange(4000) * 0.05 * (number + len(name))), 16_000)


def cached(folder: Path) -> None:
    options = AudioFolder(root=str(folder / "set"))
    make_cache("audio_folder", options, folder / "cache", splits=("train",), shard_clips=2)


def check_cache(folder: Path, done: bool) -> None:
    if not done and not (folder / "cache" / "cache.json").exists():
        return  # it was never begun
    if not CacheDescription.read(folder / "cache").splits and not done:
        return  # it is told to be half made
    clips, source = Cache(root=str(folder / "cache")).split("train"), AudioFolder(root=str(folder / "set"))
    assert len(clips) == 4
    for index in range(4):
        original = source.split("train").clip(index, 0)[0]
        np.testing.assert_allclose(clips.clip(index, 0)[0], original, atol=2**-15)


# Mixed clips


def block() -> np.ndarray:
    records = np.zeros(5, record_type(64, 3))
    records["waveform"] = np.arange(5)[:, None]
    return records


def old_block(folder: Path) -> None:
    BlockStore(folder=folder / "blocks", record=record_type(64, 3)).write(0, block()[:2])


def new_block(folder: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if not BlockStore(folder=folder / "blocks", record=record_type(64, 3)).write(0, block()):
            raise OSError(str(said[-1].message))


def check_block(folder: Path, done: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = BlockStore(folder=folder / "blocks", record=record_type(64, 3)).read(0)
    assert len(found) in ((5,) if done else (2, 5))
    assert (found["waveform"] == block()["waveform"][: len(found)]).all()


# An exported model of two files


def put(folder: Path, text: str) -> None:
    for suffix in (".xml", ".bin"):
        (folder / f"made{suffix}").write_text(f"{text}{suffix}" * 100)
    FORMATS["openvino"].move(folder / "made.xml", folder / "model.xml")


def old_export(folder: Path) -> None:
    put(folder, "old")


def new_export(folder: Path) -> None:
    put(folder, "new")


def check_export(folder: Path, done: bool) -> None:
    """The file that is given by name never lies beside what belongs to another."""
    if (folder / "model.xml").exists() or done:
        text = (folder / "model.xml").read_text()[:3]
        assert text in (("new",) if done else ("old", "new"))
        assert (folder / "model.bin").read_text() == f"{text}.bin" * 100


SCENARIOS = (
    Scenario(what="a file is replaced", prepare=old_file, act=new_file, check=check_file, leaves=".file.*.tmp"),
    Scenario(what="a folder is put in its place", prepare=nothing, act=new_folder, check=check_folder),
    Scenario(what="a cell's record and predictions", prepare=nothing, act=new_record, check=check_new_record),
    Scenario(what="a record that is measured again", prepare=old_record, act=new_record, check=check_replaced_record),
    Scenario(what="results are gathered", prepare=two_machines, act=gather, check=check_gathered),
    Scenario(what="the state of a training", prepare=old_state, act=new_state, check=check_state),
    Scenario(what="the log of a training that goes on", prepare=old_log, act=taken_back, check=check_log),
    Scenario(what="the result of a training", prepare=old_result, act=new_result, check=check_result),
    Scenario(what="the journal of a tuner", prepare=old_journal, act=go_on, check=check_journal),
    Scenario(what="a cache of a data set", prepare=sounds, act=cached, check=check_cache),
    Scenario(what="mixed clips", prepare=old_block, act=new_block, check=check_block),
    Scenario(what="an exported model of two files", prepare=old_export, act=new_export, check=check_export),
)
