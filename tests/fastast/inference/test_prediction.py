"""Files in batches: what is heard does not depend on which windows are scored together."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from fastast import load_audio
from fastast.cli import app
from fastast.commands.options import DEFAULT_MODEL
from fastast.inference.drawing import draw
from fastast.inference.hearing import Unread
from fastast.inference.prediction import Prediction
from fastast.inference.predictor import Predictor
from fastast.reduction import TokenReduction
from fastast.schedule import Constant

EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The scene, a short piece of it, three times as much, a text, and the scene again."""
    scene = load_audio(EXAMPLE)
    soundfile.write(tmp_path / "short.wav", scene[:20_000], 16_000)
    soundfile.write(tmp_path / "long.wav", np.concatenate([scene, scene[::-1], 0.5 * scene]), 16_000)
    (tmp_path / "text.wav").write_text("this is no sound")
    return [EXAMPLE, tmp_path / "short.wav", tmp_path / "long.wav", tmp_path / "text.wav", EXAMPLE]


def expected(predictor: Predictor, path: Path) -> torch.Tensor:
    """One window after the other through the front end and the model, and every sample counted once, (c,)."""
    waveform = torch.from_numpy(load_audio(path))
    length = 511 * 160 + 400
    count = max(1, -(-len(waveform) // length))
    starts = np.linspace(0, max(0, len(waveform) - length), count).round().astype(int)
    with torch.inference_mode():
        logits = [predictor.model(predictor.frontend(waveform[None, s : s + length])) for s in starts]
    heard = torch.zeros(count, len(waveform))
    for row, start in enumerate(starts):
        heard[row, start : start + length] = 1
    weights = (heard / heard.sum(0)).mean(1)  # of every window, together 1
    return (weights[:, None] * torch.cat(logits).sigmoid()).sum(0)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_files_come_in_their_order_with_the_scores_of_each_alone(files: list[Path], batch_size: int) -> None:
    predictor = Predictor(
        "ast_tiny_soundscapes", TokenReduction(schedule=Constant(20)), device="cpu", batch_size=batch_size
    )
    found = list(predictor.predict(files))
    assert [one.path for one in found] == files
    assert [type(one) for one in found] == [Prediction, Prediction, Prediction, Unread, Prediction]
    assert [one.num_windows for one in found if isinstance(one, Prediction)] == [1, 1, 3, 1]
    for one in found:
        if isinstance(one, Prediction):
            np.testing.assert_allclose(one.scores, expected(predictor, one.path), atol=1e-5)


def test_results_are_there_as_soon_as_their_batch_is_scored(files: list[Path]) -> None:
    read: list[Path] = []

    def paths() -> object:
        for path in files[:3]:
            read.append(path)
            yield path

    found = Predictor("ast_tiny_soundscapes", device="cpu", batch_size=2).predict(paths())  # type: ignore[arg-type]
    assert next(found).path == files[0]
    assert read == files[:2]


def test_paths_may_be_text_and_one_alone_is_not_several() -> None:
    predictor = Predictor("ast_tiny_soundscapes", device="cpu")
    (found,) = predictor.predict([str(EXAMPLE)])
    assert isinstance(found, Prediction)
    np.testing.assert_array_equal(found.scores, predictor(str(EXAMPLE)).scores)
    for one in (EXAMPLE, str(EXAMPLE)):
        with pytest.raises(
            TypeError, match=r"predict takes several files, such as \['.*'\]; for one, call the predictor"
        ):
            predictor.predict(one)  # type: ignore[arg-type]


def test_a_picture_is_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor("ast_tiny_soundscapes", device="cpu")
    scores = np.zeros(len(predictor.labels), np.float32)
    found = Prediction(
        path=EXAMPLE, seconds=5.0, num_windows=1, labels=predictor.labels, scores=scores, activation="sigmoid"
    )
    for name in ("picture.pdf", "picture", "picture.png.jpg"):
        with pytest.raises(ValueError, match=rf"{name}: pictures are written as PNG; name a file that ends in \.png"):
            draw(predictor, found, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "fastast.viz", None)  # a PNG would be drawn by it
    with pytest.raises(ImportError, match=r"fastast\.viz"):
        draw(predictor, found, tmp_path / "picture.PNG")


def test_the_command_passes_method_options_device_and_batch_on(files: list[Path]) -> None:
    reduction = ["--schedule", "constant:20", "--method", "tome", "--option", "metric=queries"]
    asked = ["predict", "--json", *reduction, "--device", "cpu", "--batch-size", "3", "--top", "64"]
    shown = CliRunner().invoke(app, [*asked, *map(str, files)])
    assert shown.exit_code == 1  # of the text
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    reduced = TokenReduction(schedule=Constant(20), options={"metric": "queries"})
    predictor = Predictor(DEFAULT_MODEL, reduced, device="cpu")
    scores = dict(zip(predictor.labels, expected(predictor, EXAMPLE).tolist(), strict=True))
    assert {one["label"]: one["score"] for one in lines[0]["labels"]} == pytest.approx(scores, abs=1e-5)
    shown = CliRunner().invoke(app, ["predict", str(EXAMPLE), *reduction])
    assert "merged to 362 by tome constant:20 metric=queries" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "tpu-9"), "'tpu-9' is not a device; there are: auto, cpu"),
        (("--method", "tome"), "nothing is merged without a schedule"),
        (("--schedule", "constant:4", "--option", "metric=key"), "allowed: keys, queries"),
        (("--schedule", "constant:4", "--method", "tomee"), "Did you mean 'tome'"),
    ],
)
def test_what_cannot_be_is_said_at_once(arguments: tuple[str, ...], message: str) -> None:
    shown = CliRunner().invoke(app, ["predict", "gone.wav", *arguments])
    assert shown.exit_code == 1
    assert message in shown.stderr
    assert "gone.wav" not in shown.stderr


@pytest.mark.gpu
def test_a_gpu_runs_the_engine_and_hears_the_same(files: list[Path]) -> None:
    reduction = TokenReduction(schedule=Constant(20))
    here = Predictor("ast_tiny_soundscapes", reduction, device="cpu")
    there = Predictor("ast_tiny_soundscapes", reduction, device="cuda", batch_size=2)
    assert there.engine is not None
    assert there.engine.path == "triton"
    assert "cuda" in there.describe()
    for one, other in zip(here.predict(files), there.predict(files), strict=True):
        if isinstance(one, Prediction):
            assert isinstance(other, Prediction)
            np.testing.assert_allclose(one.scores, other.scores, atol=5e-3)
