"""Several teachers as one: the mean of their logits, whatever their normalisation and the order of their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from fastast.cli import app
from fastast.data.audio import load_audio
from fastast.frontend import AUDIOSET, ESC50, Frontend
from fastast.inference.predictor import Predictor
from fastast.teachers import (
    Teacher,
    TeacherError,
    combine_teachers,
    create_teacher,
    load_teacher,
    save_teacher,
    teacher_identity,
)
from fastast.teachers.clip_models import ClipShape
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.weights.build import recipe_frontend

EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"
NAMES = ("dog", "rain", "siren")


def cnn(seed: int, labels: tuple[str, ...] | None = NAMES, normalisation=ESC50, classes: int = 3) -> Teacher:
    torch.manual_seed(seed)
    teacher = create_teacher("resnet10t", classes, normalisation=normalisation, average_frames=2, average_bins=2)
    for module in teacher.modules():  # untrained statistics leave next to nothing of a clip
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)  # type: ignore[union-attr]
    teacher.labels = labels
    return teacher.eval()


def ast(frames: int, bins: int = 64, **options) -> Teacher:
    shape = {"num_frames": frames, "num_mel_bins": bins, "embed_dim": 16, "num_heads": 2, "depth": 1}
    teacher = create_teacher("ast_tiny", 3, normalisation=ESC50, **shape, **options)
    teacher.labels = NAMES
    return teacher.eval()


def aisfx(bins: int) -> Teacher:
    teacher = create_teacher("aisfx_cnn9", 3, normalisation=ESC50, num_mel_bins=bins)
    teacher.labels = NAMES
    return teacher.eval()


@torch.inference_mode()
def test_logits_are_the_mean_of_the_members() -> None:
    one, other = cnn(0), cnn(1)
    fbank = torch.randn(2, 96, 64)
    torch.testing.assert_close(combine_teachers([one, other])(fbank), (one(fbank) + other(fbank)) / 2)
    assert float((one(fbank) - other(fbank)).abs().max()) > 1e-3


@torch.inference_mode()
def test_members_are_given_their_own_normalisation_and_matched_by_name() -> None:
    one = cnn(0)
    other = cnn(1, labels=("siren", "dog", "rain"), normalisation=AUDIOSET)
    together = combine_teachers([one, other])
    raw = 3 * torch.randn(2, 96, 64) - 6  # logarithms of energies
    answer = together(ESC50(raw))
    by_hand = (one(ESC50(raw)) + other(AUDIOSET(raw))[:, [1, 2, 0]]) / 2
    torch.testing.assert_close(answer, by_hand, atol=1e-4, rtol=1e-4)
    assert (together.labels, together.normalisation) == (NAMES, ESC50)


@torch.inference_mode()
def test_an_ensemble_is_a_file_like_any_teacher(tmp_path: Path) -> None:
    names = [str(save_teacher(tmp_path / f"{seed}.safetensors", cnn(seed))) for seed in (0, 1)]
    out = tmp_path / "both.safetensors"
    result = CliRunner().invoke(app, ["ensemble", *names, "--out", str(out)])
    assert result.exit_code == 0, result.output
    fbank = torch.randn(1, 96, 64)
    both = load_teacher(out, num_classes=3)
    torch.testing.assert_close(both(fbank), (load_teacher(names[0])(fbank) + load_teacher(names[1])(fbank)) / 2)
    with pytest.raises(TeacherError, match="is an ensemble itself; give its members"):
        combine_teachers([both, cnn(2)])


def test_an_ast_and_a_cnn_answer_together() -> None:
    ast = load_teacher("ast_tiny_soundscapes")
    assert ast.normalisation is not None
    assert ast.labels is not None
    torch.manual_seed(0)
    other = create_teacher("resnet10t", 64, normalisation=ast.normalisation).eval()
    other.labels = ast.labels
    fbank = torch.randn(1, 512, 128)
    with torch.inference_mode():
        torch.testing.assert_close(combine_teachers([ast, other])(fbank), (ast(fbank) + other(fbank)) / 2)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (lambda: [cnn(0)], "1 member; give at least two"),
        (lambda: [cnn(0, labels=None), cnn(1, labels=None, classes=4)], "has 4 classes, but the first has 3"),
        (lambda: [cnn(0), cnn(1, labels=None)], "member 2 .* does not say its classes, but member 1 does"),
        (lambda: [cnn(0, labels=None), cnn(1)], "member 1 .* does not say its classes, but member 2 does"),
        (lambda: [ast(48), cnn(0), ast(64)], "member 3 .* takes 64 frames, but an earlier one takes 48, so no"),
        (lambda: [ast(48), cnn(0), ast(48, bins=48)], "member 3 .* takes 48 mel bins, but an earlier one takes 64"),
        (lambda: [cnn(0), ast(48), aisfx(bins=128)], "member 3 .* takes 128 mel bins, but an earlier one takes 64"),
        (lambda: [cnn(0), cnn(1, labels=("dog", "rain", "cat"))], "member 2: .*cat"),
        (lambda: [cnn(0), cnn(1, normalisation=None)], "member 2 .* does not say its normalisation"),
    ],
)
def test_members_that_do_not_fit_are_named(members, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        combine_teachers(members())


def test_members_of_another_loss_are_refused() -> None:
    one, other = cnn(0), cnn(1)
    one.loss, other.loss = "bce", "ce"
    with pytest.raises(TeacherError, match="loss ce, but an earlier one with bce"):
        combine_teachers([one, other])
    with pytest.raises(TeacherError, match=r"member 3 .* loss ce, but an earlier one with bce"):
        combine_teachers([cnn(2), one, other])
    assert combine_teachers([cnn(2), one]).loss == "bce"


def test_the_length_is_that_of_a_transformer(tmp_path: Path) -> None:
    long = cnn(0)
    long.num_frames = 96
    both = combine_teachers([long, ast(48)])
    assert both.num_frames == 48
    assert both(torch.randn(1, 48, 64)).shape == (1, 3)


@torch.inference_mode()
def test_an_ensemble_of_asts_of_other_mel_bins_hears_files_and_is_evaluated(tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    save_teacher(out, combine_teachers([ast(48), ast(48)]))
    members = load_teacher(out).members
    samples = torch.from_numpy(load_audio(EXAMPLE, sample_rate=16_000)[: 47 * 160 + 400])
    soundfile.write(tmp_path / "short.wav", samples.numpy(), 16_000, "FLOAT")
    fbank = Frontend(ClipShape(num_frames=48, num_mel_bins=64), ESC50)([samples])
    expected = torch.stack([member(fbank)[0] for member in members]).mean(0).sigmoid()
    found = Predictor(str(out))(tmp_path / "short.wav")
    np.testing.assert_allclose(found.scores, expected.numpy(), atol=1e-5)
    frontend = recipe_frontend(load_teacher(out), ModelPart(), ESC50)
    assert (frontend.num_frames, frontend.num_mel_bins) == (48, 64)


def test_an_ensembles_identity_hangs_on_what_decides_its_answers() -> None:
    def identity(seed: int = 1, normalisation=ESC50, name: str = "ast_tiny", **options) -> str:
        torch.manual_seed(0)
        transformer = ast(48, **options)
        transformer.name = name
        return teacher_identity(combine_teachers([transformer, cnn(seed, normalisation=normalisation)]))

    assert identity(name="ast_base") == identity()  # as one that is loaded from a file, whatever its shape
    assert identity(patchout_freq=1, patchout_time=1) == identity()
    assert len({identity(), identity(seed=2), identity(normalisation=AUDIOSET)}) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn_small_soundscapes", "e8dfb3a7ce18512b35ccc2ad632906d6f22050eb89ec21ea8f66ac0003ee283a"),
        ("ast_tiny_soundscapes", "8c056790fbfd6d77a1fb54c428261ea8c5cf1d980a8381ce9ecaa604599be0f3"),
    ],
)
def test_the_identity_of_a_single_teacher_never_changes(name: str, expected: str) -> None:
    """Stored answers of teachers are known by it; these are of FastAST at the time that ensembles came."""
    assert teacher_identity(load_teacher(name)) == expected
