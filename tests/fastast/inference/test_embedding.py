"""Vectors of files, against a forward by hand, in tables that other libraries read."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from small_weights import save_small_weights
from typer.testing import CliRunner

from fastast import load_audio
from fastast.checkpoints import load_model
from fastast.cli import app
from fastast.frontend import Frontend
from fastast.hosts import reduce
from fastast.inference.embedding_files import write_embeddings
from fastast.reduction import TokenReduction

EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"
WINDOW = 511 * 160 + 400


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small_weights(tmp_path_factory.mktemp("weights") / "ast.safetensors")


def by_hand(weights: str, windows: list[np.ndarray], schedule: str | None = None, num_frames: int = 512) -> np.ndarray:
    """What goes into the head, seen by a hook on it, (windows, d)."""
    model = load_model(weights, num_frames=num_frames).eval()
    seen: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    if schedule:
        reduce(model, TokenReduction(schedule=schedule))
    with torch.inference_mode():
        for window in windows:
            model(Frontend(model.geometry, model.normalisation)([torch.from_numpy(window)]))
    return torch.cat(seen).numpy()


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """12 s: three windows of the model's input."""
    soundfile.write(tmp_path / "long.wav", np.resize(load_audio(EXAMPLE), 192_000), 16_000, "FLOAT")
    return tmp_path / "long.wav"


@pytest.mark.parametrize("schedule", [None, "constant:40"])
def test_a_clip_is_what_the_head_reads_of_it(weights: str, long: Path, tmp_path: Path, schedule: str | None) -> None:
    more = ("-m", weights, *(() if schedule is None else ("--schedule", schedule)))
    out = run("embed", EXAMPLE, long, "--out", tmp_path / "x.parquet", *more)
    assert out.endswith("x.parquet: 2 vectors of 2 files\n")
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["file", "start", "end", "vector"]
    assert table.column("file").to_pylist() == [str(EXAMPLE), str(long)]
    assert table.column("start").to_pylist() == [0, 0]
    assert table.column("end").to_pylist() == [5, 12]
    whole = load_audio(long)
    starts = np.linspace(0, 192_000 - WINDOW, 3).round().astype(int)
    heard = np.zeros((3, 192_000))
    for row, start in enumerate(starts):
        heard[row, start : start + WINDOW] = 1
    shares = (heard / heard.sum(0)).mean(1)  # every sample counts once
    expected = [
        by_hand(weights, [load_audio(EXAMPLE)], schedule)[0],
        shares @ by_hand(weights, [whole[start : start + WINDOW] for start in starts], schedule),
    ]
    np.testing.assert_allclose(table.column("vector").to_pylist(), expected, atol=1e-4)


def test_every_window_can_be_one(weights: str, long: Path, tmp_path: Path) -> None:
    asked = ("embed", long, "-m", weights, "--per", "window", "--hop", "3", "--batch-size", "2")
    for name in ("x.npz", "x.csv"):
        run(*asked, "--out", tmp_path / name)
    with np.load(tmp_path / "x.npz") as found:
        starts = np.array([0, 3, 6, 12 - WINDOW / 16_000])
        np.testing.assert_allclose(found["start"], starts)
        np.testing.assert_allclose(found["end"], starts + WINDOW / 16_000)
        assert found["file"].tolist() == [str(long)] * 4
        vectors = found["vector"]
    whole = load_audio(long)
    first = (starts * 16_000).round().astype(int)
    np.testing.assert_allclose(vectors, by_hand(weights, [whole[at : at + WINDOW] for at in first]), atol=1e-4)
    with (tmp_path / "x.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["file", "start", "end", *(f"v{i}" for i in range(vectors.shape[1]))]
    np.testing.assert_array_equal(np.array([row[3:] for row in rows]).astype(np.float32), vectors)


def test_a_short_clip_can_be_embedded_at_its_own_length(weights: str, tmp_path: Path) -> None:
    short = load_audio(EXAMPLE)[:8_000]
    soundfile.write(tmp_path / "short.wav", short, 16_000, "FLOAT")
    run("embed", tmp_path / "short.wav", "-m", weights, "--own-length", "--out", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as found:
        np.testing.assert_allclose(found["vector"], by_hand(weights, [short], num_frames=86), atol=1e-4)


def test_what_cannot_be_is_said_and_no_table_is_left(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("embed", "-m", weights)
    (tmp_path / "text.wav").write_text("this is no sound")
    out = tmp_path / "out/x.parquet"
    assert "1 of 2 files gave no result" in run(*asked, EXAMPLE, tmp_path / "text.wav", "--out", out, code=1)
    assert pyarrow.parquet.read_table(out).num_rows == 1
    out.unlink()
    assert "not one file could be read" in run(*asked, tmp_path / "text.wav", "--out", out, code=1)
    assert ".parquet, .npz, .csv" in run(*asked, EXAMPLE, "--out", tmp_path / "out/x.txt", code=1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'fastast[data]'" in run(*asked, EXAMPLE, "--out", out, code=1)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("ending", ["parquet", "npz", "csv"])
def test_a_table_of_no_vectors_is_refused_and_leaves_the_one_of_before(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"x.{ending}"
    out.write_text("of before")
    with (
        pytest.raises(ValueError, match=f"x.{ending}: there are no vectors to write"),
        write_embeddings(out) as to,
    ):
        to([])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(out.name, "of before")]
