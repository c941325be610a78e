"""Trained CNNs and ensembles label files as transformers do, and say what they cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import fastast
from fastast import load_audio
from fastast.cli import app
from fastast.frontend import Normalisation
from fastast.frontend.filterbank import fbank
from fastast.inference.predictor import Predictor
from fastast.teachers import Teacher, combine_teachers, create_teacher, load_teacher, save_teacher

EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"
SCALE = Normalisation(mean=-5.0, std=3.0)


def saved(path: Path, *, frames: object = 200, labels: tuple[str, ...] = ("Bird", "Water", "Wind")) -> Path:
    torch.manual_seed(0)
    cnn = create_teacher("regnetx_002", len(labels), normalisation=SCALE, average_frames=2, average_bins=2)
    cnn.loss = "bce"
    notes = {"recipe": {"model": {"name": "regnetx_002", "options": {"num_frames": frames}}}}
    return save_teacher(path, cnn, labels=labels, training=notes)


def heard(network: Teacher, frames: int, scale: Normalisation) -> torch.Tensor:
    """The mean over time of what a network says of the example, without any code of the predictor, (c,)."""
    waveform, length = torch.from_numpy(load_audio(EXAMPLE)), (frames - 1) * 160 + 400
    count = -(-len(waveform) // length)
    starts = [round(i * (len(waveform) - length) / (count - 1)) for i in range(count)] if count > 1 else [0]
    with torch.no_grad():
        windows = torch.cat([fbank(waveform[None, start : start + length]) for start in starts])  # (w, f, m)
        missing = frames - windows.shape[1]
        windows = torch.cat([windows, windows.new_zeros(len(windows), missing, 128)], 1)
        scores = network((windows - scale.mean) / (2 * scale.std)).sigmoid()  # (w, c)
    covered = torch.zeros(count, len(waveform))
    for row, start in enumerate(starts):
        covered[row, start : start + length] = 1
    return ((covered / covered.sum(0)).mean(1)[:, None] * scores).sum(0)  # every sample counts once


def test_a_cnn_scores_windows_of_the_length_that_it_was_trained_on(tmp_path: Path) -> None:
    path = saved(tmp_path / "cnn.safetensors")
    predictor = Predictor(str(path), device="cpu", batch_size=2)
    found = predictor(EXAMPLE)
    assert (found.num_windows, found.labels, found.activation) == (3, ("Bird", "Water", "Wind"), "sigmoid")
    torch.testing.assert_close(torch.from_numpy(found.scores), heard(load_teacher(path), 200, SCALE))
    assert predictor.describe() == f"{path}: regnetx_002, no tokens to merge"


def test_the_command_takes_it_too_and_its_length_can_be_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "cnn.safetensors")
    arguments = ["predict", str(EXAMPLE), "--model", str(path), "--json"]
    for more, windows in (([], 3), (["--geometry", "num_frames=100"], 5)):
        done = CliRunner().invoke(app, [*arguments, *more])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["windows"] == windows


def test_an_ensemble_says_the_mean_of_its_members_logits(tmp_path: Path) -> None:
    ast = load_teacher("ast_tiny_soundscapes")
    cnn = load_teacher(saved(tmp_path / "cnn.safetensors", labels=tuple(reversed(ast.labels))))
    path = save_teacher(tmp_path / "both.safetensors", combine_teachers([ast, cnn]))
    found = Predictor(str(path), device="cpu")(EXAMPLE)
    assert found.num_windows == 1  # of 512 frames, as the transformer has it
    waveform = torch.from_numpy(load_audio(EXAMPLE))[None]
    model = fastast.create_model("ast_tiny_soundscapes").eval()
    features = fastast.Frontend(model.geometry, model.normalisation)(waveform)
    with torch.no_grad():
        plain = model.normalisation.undo(features)
        logits = (model(features) + cnn((plain - SCALE.mean) / (2 * SCALE.std)).flip(1)) / 2
    torch.testing.assert_close(torch.from_numpy(found.scores), logits.sigmoid()[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [None, True, "512", -3, 10**9, {"a": 1}])
def test_a_file_that_does_not_say_how_long_its_clips_were_is_asked_for_it(tmp_path: Path, frames: object) -> None:
    path = saved(tmp_path / "cnn.safetensors", frames=frames)
    with pytest.raises(ValueError, match=r"how long the clips were .* --geometry num_frames=512"):
        Predictor(str(path), device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", str(EXAMPLE), "--schedule", "constant:20"], "regnetx_002 takes no reduction, only a transformer"),
        (["predict", str(EXAMPLE), "--own-length"], "regnetx_002 takes no own length, only a transformer does"),
        (["predict", str(EXAMPLE), "--engine", "onnxruntime"], "regnetx_002 takes no runtime, only a transformer does"),
        (
            ["predict", str(EXAMPLE), "--geometry", "embed_dim=3"],
            "regnetx_002 has no embed_dim; the only geometry field it takes",
        ),
        (["predict", str(EXAMPLE), "--normalisation", "-4,2"], "the file has its own normalisation"),
        (["predict", str(EXAMPLE), "--draw", "pictures"], "regnetx_002 has no tokens to draw; leave --draw out"),
        (["embed", str(EXAMPLE), "--out", "vectors.npz"], "regnetx_002 gives logits only; give a transformer"),
        (["info"], "this is a teacher's file, a network without tokens to merge; use it with `fastast predict`"),
        (["export", "--out", "model.onnx"], "this is a teacher's file, a network without tokens to merge"),
    ],
)
def test_what_only_transformers_can_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    path = str(saved(tmp_path / "cnn.safetensors"))
    monkeypatch.chdir(tmp_path)
    command, *rest = arguments
    given = [command, path, *rest] if command in ("info", "export") else [command, *rest, "--model", path]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1, done.output
    assert message in " ".join(done.output.split())
    assert [one.name for one in tmp_path.iterdir()] == ["cnn.safetensors"]
