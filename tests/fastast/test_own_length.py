"""Clips at their own length, against the model that the checkpoint loader makes of that length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_weights import LABELS, save_small_weights

from fastast import load_audio
from fastast.checkpoints import load_model
from fastast.data.layouts.table import Table
from fastast.frontend import Frontend
from fastast.geometry import geometry
from fastast.hosts import reduce
from fastast.inference.hearing import Unread
from fastast.inference.prediction import Prediction
from fastast.inference.predictor import Predictor
from fastast.own_length import OwnLengths, at_length, bucket_frames
from fastast.reduction import TokenReduction
from fastast.training.evaluation.evaluate import evaluate

EXAMPLE = Path(__file__).parents[2] / "fastast/assets/examples/bird_and_water.ogg"


def test_lengths_are_rounded_up_to_a_few_and_cut_nothing() -> None:
    shape = geometry("tiny", num_frames=512)
    # 8 patches of 16 frames, one every 10: 16 + 7 * 10.
    assert [bucket_frames(shape, frames) for frames in (1, 16, 86, 87, 166, 496, 511, 512, 9_999)] == [
        86, 86, 86, 166, 166, 512, 512, 512, 512,
    ]  # fmt: skip
    assert bucket_frames(geometry("tiny", num_frames=64), 10) == 64
    for frames in range(1, 512):
        bucket = bucket_frames(shape, frames)
        assert bucket >= frames
        assert bucket == 512 or (bucket - 16) % 80 == 70


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An AST of 512 frames: 50 patches along time."""
    return save_small_weights(tmp_path_factory.mktemp("weights") / "ast.safetensors")


@pytest.mark.parametrize("frames", [86, 246, 512])
def test_a_length_is_that_of_the_checkpoint_loader(frames: int, weights: str) -> None:
    expected = load_model(weights, num_frames=frames).eval()
    model = load_model(weights).eval()
    found = at_length(model, frames)
    fbank = torch.randn(2, frames, 128)
    with torch.inference_mode():
        torch.testing.assert_close(found(fbank), expected(fbank), rtol=0, atol=0)
    reduction = TokenReduction(schedule="constant:5")
    with reduce(found, reduction), reduce(expected, reduction), torch.inference_mode():
        torch.testing.assert_close(found(fbank), expected(fbank), rtol=0, atol=0)
        assert model.attached is None  # the model itself is not reduced by it
    assert model.geometry.num_frames == 512
    assert found.blocks is model.blocks


def test_what_has_no_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="a Linear has a fixed length, or none"):
        OwnLengths(torch.nn.Linear(2, 2))


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """1.2 s, all of it, and 0.3 s, 1.25 s and 12 s of the scene."""
    scene = load_audio(EXAMPLE)
    found = [EXAMPLE]
    for seconds in (1.2, 0.3, 1.25, 12.0):
        found.append(tmp_path / f"{seconds}.wav")
        soundfile.write(found[-1], np.resize(scene, int(16_000 * seconds)), 16_000, "FLOAT")
    return [found[1], found[0], *found[2:]]


def expected_scores(weights: str, path: Path, frames: int, reduction: TokenReduction | None) -> np.ndarray:
    model = load_model(weights, num_frames=frames).eval()
    if reduction:
        reduce(model, reduction)
    with torch.inference_mode():
        fbank = Frontend(model.geometry, model.normalisation)([torch.from_numpy(load_audio(path))])
        return model(fbank).sigmoid()[0].numpy()


@pytest.mark.parametrize("reduction", [None, TokenReduction(schedule="keep:0.5")])
def test_files_are_scored_at_their_own_length_and_come_in_their_order(
    clips: list[Path], weights: str, reduction: TokenReduction | None
) -> None:
    predictor = Predictor(weights, reduction, device="cpu", batch_size=3, own_length=True)
    found = list(predictor.predict(clips))
    assert [one.path for one in found] == clips
    # 1.2 s: 118 frames; 0.3 s: 28; 1.25 s: 123; 5 s: 498, more than 486.
    for one, frames in zip(found[:4], (166, 512, 86, 166), strict=True):
        assert isinstance(one, Prediction)
        np.testing.assert_allclose(one.scores, expected_scores(weights, one.path, frames, reduction), atol=1e-5)
    padded = list(Predictor(weights, reduction, device="cpu").predict(clips))
    last, same = found[4], padded[4]
    assert isinstance(last, Prediction)
    assert isinstance(same, Prediction)
    assert last.num_windows == 3
    np.testing.assert_allclose(last.scores, same.scores, atol=1e-6)  # windows of a longer file are whole
    short = padded[2]
    assert isinstance(short, Prediction)
    assert not np.allclose(found[2].scores, short.scores, atol=1e-3)  # type: ignore[union-attr]


def test_a_file_with_too_few_tokens_for_the_schedule_is_named_and_the_others_are_scored(
    clips: list[Path], weights: str
) -> None:
    predictor = Predictor(weights, TokenReduction(schedule="constant:80"), device="cpu", own_length=True)
    found = list(predictor.predict(clips))
    assert [type(one) for one in found] == [Unread, Prediction, Unread, Unread, Prediction]
    assert isinstance(found[2], Unread)
    assert str(found[2].error).startswith(f"{clips[2]}: reduction tome constant:80: block")
    assert "excess" in str(found[2].error)


def test_a_rare_length_does_not_hold_the_others_back(clips: list[Path], weights: str) -> None:
    read: list[Path] = []

    def paths() -> object:
        for path in [clips[2]] + [clips[0]] * 100:
            read.append(path)
            yield path

    found = Predictor(weights, device="cpu", batch_size=2, own_length=True)
    assert next(found.predict(paths())).path == clips[2]  # type: ignore[arg-type]
    assert len(read) < 40


def test_a_runtime_has_one_length(weights: str) -> None:
    with pytest.raises(ValueError, match="own length: onnxruntime has a fixed length"):
        Predictor(weights, runtime="onnxruntime", own_length=True)


def test_an_evaluation_at_own_length_is_that_of_each_clip_alone(tmp_path: Path) -> None:
    weights = save_small_weights(tmp_path / "ast.safetensors", num_frames=400)
    (tmp_path / "set").mkdir()
    random, rows = np.random.default_rng(0), ["file,label"]
    for clip, seconds in enumerate((0.5, 1.4, 4.0, 0.7, 1.0, 0.3)):
        soundfile.write(tmp_path / "set" / f"{clip}.wav", random.normal(0, 0.1, int(16_000 * seconds)), 16_000, "FLOAT")
        rows.append(f"{clip}.wav,{LABELS[clip % 4]}")
    (tmp_path / "set" / "test.csv").write_text("\n".join(rows) + "\n")

    data = Table(root=str(tmp_path / "set"), test="test.csv", classes=LABELS).split("test")
    network = load_model(weights).eval()
    frontend = Frontend(network.geometry, network.normalisation)
    found = evaluate(network, data, frontend, batch_size=4, own_length=True)
    padded = evaluate(network, data, frontend, batch_size=4)
    for clip, frames in enumerate((86, 166, 400, 86, 166, 86)):
        alone = load_model(weights, num_frames=frames).eval()
        wave = torch.from_numpy(load_audio(tmp_path / "set" / f"{clip}.wav"))
        with torch.inference_mode():
            logits = alone(Frontend(alone.geometry, alone.normalisation)([wave]))[0]
        np.testing.assert_allclose(found.logits[""][clip], logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.logits[""][2], padded.logits[""][2], atol=1e-5)
    assert not np.allclose(found.logits[""][0], padded.logits[""][0], atol=1e-4)


def test_the_attention_kernel_goes_with_the_reduction_that_brought_it(weights: str) -> None:
    model = load_model(weights).eval()
    with reduce(model, TokenReduction(schedule="constant:5"), attention="math"):
        twin = at_length(model, 86)
        assert (twin.attached, twin.attention_kernel) == (None, "auto")
        assert (str(model.attached.reduction), model.attention_kernel) == ("tome constant:5", "math")
    model.attention_kernel = "math"
    assert at_length(model, 86).attention_kernel == "math"


def test_positions_that_change_are_those_of_every_length(weights: str) -> None:
    model = load_model(weights).eval()
    lengths = OwnLengths(model)
    before = lengths.model(86)
    assert lengths.model(86) is before
    with torch.no_grad():
        model.pos_embed.add_(1.0)
    torch.testing.assert_close(lengths.model(86).pos_embed, before.pos_embed + 1)
    model.pos_embed = torch.nn.Parameter(torch.zeros_like(model.pos_embed))
    assert not lengths.model(86).pos_embed.any()


def test_positions_that_were_loaded_in_inference_mode_are_those_of_every_length(weights: str) -> None:
    expected = load_model(weights, num_frames=86).eval()
    with torch.inference_mode():
        model = load_model(weights).eval()
    assert model.pos_embed.is_inference()
    lengths = OwnLengths(model)
    fbank = torch.randn(2, 86, 128)
    with torch.inference_mode():
        torch.testing.assert_close(lengths.model(86)(fbank), expected(fbank), rtol=0, atol=0)
    assert lengths.model(86) is lengths.model(86)
