"""What is shared is whole and tells of nobody; what is not so is refused, by name."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import cheap_runners
import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.records.schema import Suite
from bench.records.store import Store, read_record, read_records
from bench.records.table import write_table
from bench.share.check import ShareError, check_contribution
from bench.share.pack import pack_results
from bench.share.private import private_texts, without_private

ROOT = Path(__file__).parents[3]
KEY = "cpu-abacus-1-threads"
COMMITTED = Suite(version="0", commit="c0ffee", dirty=False)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two speeds and a failure, as committed code leaves them."""
    folder = tmp_path / "results"
    cells = [cheap_runners.cell("fine", number) for number in range(2)] + [cheap_runners.cell("memory")]
    cheap_runners.run(cells, folder, io.StringIO())
    return rewrite(folder, suite=COMMITTED)


def rewrite(folder: Path, **changes: object) -> Path:
    """Change every record, and the tables with them."""
    for record in read_records(folder):
        store = Store(folder, record.machine.key, record.sweep)
        store.write(record.model_copy(update=changes))
        write_table(store.folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_results_can_be_published() -> None:
    """Which is how a contribution is checked: it is a pull request that adds its machine's folder."""
    found = check_contribution(ROOT / "results")
    assert sum(found.values()) == len(read_records(ROOT / "results"))


def test_what_is_packed_are_the_records_and_nothing_else(results: Path, tmp_path: Path) -> None:
    (results / KEY / "cheap" / "notes.txt").write_text("mine")
    before = files(results)
    packed = pack_results(results, tmp_path / "share")
    assert (packed.records, packed.sweeps, packed.folder) == (3, ("cheap",), tmp_path / "share" / KEY)
    assert files(results) == before
    assert sorted(files(packed.folder)) == sorted(
        name.removeprefix(f"{KEY}/") for name in before if "notes" not in name
    )
    assert check_contribution(packed.folder) == {KEY: 3}
    with tarfile.open(packed.archive) as archive:
        members = archive.getmembers()
        assert {member.name: archive.extractfile(member).read() for member in members} == {
            f"{KEY}/{name}": content for name, content in files(packed.folder).items()
        }
    assert {(member.uid, member.uname, member.mtime) for member in members} == {(0, "", 0)}
    assert sorted(path.name for path in (tmp_path / "share").iterdir()) == [KEY, f"{KEY}.tar.gz"]


def test_the_same_records_pack_to_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first, second = (pack_results(results, tmp_path / name).archive for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no /home/alice/My-Data/eval.csv there", "no eval.csv there"),
        ("no ~/secret/x.wav, ~alice/y", "no x.wav, y"),
        (r"in C:\Users\alice\x.pt now", "in x.pt now"),
        ("node 10.0.17.3 is gone, ask alice@uni-x.example", "node ADDRESS is gone, ask ADDRESS"),
        ("worker on gpu-node-17 (Alice) died; alices stay", "worker on NAME (NAME) died; alices stay"),
        ("flash_cpu/math at 12 clips/s and 1/2, n/a, build/results, v2.14.1", None),
        ("https://example.org/data", None),
    ],
)
def test_texts_lose_folders_addresses_and_names(results: Path, text: str, expected: str | None) -> None:
    record = read_records(results)[0].model_copy(update={"message": text})
    cleaned = without_private(record, ("gpu-node-17", "alice", "x"))
    assert cleaned.message == (expected or text)
    assert cleaned == record.model_copy(update={"message": expected or text})
    assert bool(private_texts(record, ("gpu-node-17", "alice"))) == (expected is not None)
    assert private_texts(cleaned, ("gpu-node-17", "alice")) == []


def test_packing_tells_what_it_took_out(results: Path, tmp_path: Path) -> None:
    rewrite(results, command=("python", "-m", "bench", "run", "/scratch/alice/my.toml"), message="on titan: lost")
    options = ["--out", str(tmp_path / "share"), "--name", "titan"]
    shown = CliRunner().invoke(app, ["share", str(results), *options])
    assert shown.exit_code == 0, shown.output
    assert "command.4: '/scratch/alice/my.toml'" in shown.output
    for record in read_records(tmp_path / "share"):
        assert record.command[-1] == "my.toml"
        assert record.message == "on NAME: lost"
    assert "alice" not in "".join(map(str, files(tmp_path / "share").values()))
    again = CliRunner().invoke(app, ["share", str(results), *options])
    assert again.exit_code == 1
    assert "exists already; remove it" in again.output


def test_a_question_that_holds_a_folder_is_refused_as_its_id_depends_on_it(results: Path, tmp_path: Path) -> None:
    cell = cheap_runners.cell("/home/alice/model.pt")
    record = read_records(results)[0]
    part = record.cell.model_copy(update={"id": cell.id, "question": cell.question})
    Store(results, KEY, "cheap").write(record.model_copy(update={"cell": part}))
    with pytest.raises(ShareError, match=f"{cell.id}.json: cell.question.model.name: holds '/home/alice/model.pt'"):
        pack_results(results, tmp_path / "share")
    assert list((tmp_path / "share").iterdir()) == []


def test_one_of_several_machines_is_chosen(results: Path, tmp_path: Path) -> None:
    for record in read_records(results):
        machine = record.machine.model_copy(update={"key": "server"})
        Store(results, "server", record.sweep).write(record.model_copy(update={"machine": machine}))
    with pytest.raises(ShareError, match=f"2 machines; choose one with --machine: {KEY}, server"):
        pack_results(results, tmp_path / "share")
    assert pack_results(results, tmp_path / "share", machine="server").folder.name == "server"
    with pytest.raises(ShareError, match="'laptop' has no records; there are"):
        pack_results(results, tmp_path / "share", machine="laptop")


def spoil_code(folder: Path) -> None:
    rewrite(folder, suite=Suite(version="0", commit="c0ffee", dirty=True))


def spoil_text(folder: Path) -> None:
    rewrite(folder, message="see /home/alice/log.txt")


def spoil_table(folder: Path) -> None:
    (folder / KEY / "cheap" / "cells.csv").write_text("cell\n")


def spoil_place(folder: Path) -> None:
    (folder / KEY / "cheap").rename(folder / KEY / "other")


def spoil_files(folder: Path) -> None:
    (folder / KEY / "cheap" / "README.md").write_text("hello")


def spoil_identity(folder: Path) -> None:
    path = sorted((folder / KEY / "cheap").glob("*.json"))[0]
    raw = json.loads(path.read_text())
    raw["cell"]["question"]["dtype"] = "float64"
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_code, "measured with uncommitted code .*commit, and measure it again"),
        (spoil_text, "message: holds '/home/alice/log.txt'; pack the results"),
        (spoil_table, "cells.csv: does not match the records; run: python -m bench export"),
        (spoil_place, "belongs in cpu-abacus-1-threads/cheap/"),
        (spoil_files, "README.md: is neither a record"),
        (spoil_identity, "its id is not the hash of its question"),
    ],
)
def test_a_contribution_that_is_not_as_it_must_be_is_refused(results: Path, spoil, message: str) -> None:
    assert check_contribution(results) == {KEY: 3}
    spoil(results)
    with pytest.raises(ShareError, match=message):
        check_contribution(results)
    shown = CliRunner().invoke(app, ["share", "--check", str(results)])
    assert shown.exit_code == 1


def test_an_empty_folder_is_no_contribution(tmp_path: Path) -> None:
    with pytest.raises(ShareError, match="has no records; give results/MACHINE"):
        check_contribution(tmp_path)


def test_predictions_travel_with_their_records_and_hold_nothing_else(tmp_path: Path) -> None:
    committed = next((ROOT / "results").glob("cpu-*/soundscapes_10s"))
    source = tmp_path / "results" / committed.parent.name / "soundscapes_10s"
    shutil.copytree(committed, source)
    packed = pack_results(tmp_path / "results", tmp_path / "share")
    predictions = sorted((packed.folder / "soundscapes_10s" / "predictions").glob("*.npz"))
    assert [path.read_bytes() for path in predictions] == [
        path.read_bytes() for path in sorted((source / "predictions").glob("*.npz"))
    ]
    with np.load(predictions[0]) as stored:
        arrays = dict(stored)
    np.savez_compressed(predictions[0], **arrays, diary=np.zeros(3))
    with pytest.raises(ShareError, match="holds 'diary', which is not part of predictions"):
        check_contribution(packed.folder)
    assert read_record(next(packed.folder.glob("*/*.json"))).quality is not None
