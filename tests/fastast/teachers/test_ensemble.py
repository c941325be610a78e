"""Several teachers as one: the mean of their logits, whatever their normalisation and the order of their classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fastast.cli import app
from fastast.frontend import AUDIOSET, ESC50
from fastast.teachers import Teacher, TeacherError, combine_teachers, create_teacher, load_teacher, save_teacher

NAMES = ("dog", "rain", "siren")


def cnn(seed: int, labels: tuple[str, ...] | None = NAMES, normalisation=ESC50, classes: int = 3) -> Teacher:
    torch.manual_seed(seed)
    teacher = create_teacher("resnet10t", classes, normalisation=normalisation, average_frames=2, average_bins=2)
    for module in teacher.modules():  # untrained statistics leave next to nothing of a clip
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)  # type: ignore[union-attr]
    teacher.labels = labels
    return teacher.eval()


def ast(frames: int) -> Teacher:
    shape = {"num_frames": frames, "num_mel_bins": 64, "embed_dim": 16, "num_heads": 2, "depth": 1}
    teacher = create_teacher("ast_tiny", 3, normalisation=ESC50, **shape)
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
        (lambda: [cnn(0, labels=None), cnn(1, labels=None, classes=4)], "has 4 classes, the first has 3"),
        (lambda: [cnn(0), cnn(1, labels=None)], "member 2 .* does not say its classes, member 1 does"),
        (lambda: [cnn(0, labels=None), cnn(1)], "member 1 .* does not say its classes, member 2 does"),
        (lambda: [ast(48), cnn(0), ast(64)], "member 3 .* takes 64 frames of 64 mel bins, one before takes 48 of 64"),
        (lambda: [cnn(0), cnn(1, labels=("dog", "rain", "cat"))], "member 2: .*cat"),
        (lambda: [cnn(0), cnn(1, normalisation=None)], "member 2 .* says no normalisation"),
    ],
)
def test_members_that_do_not_fit_are_named(members, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        combine_teachers(members())


def test_members_of_another_loss_are_refused() -> None:
    one, other = cnn(0), cnn(1)
    one.loss, other.loss = "bce", "ce"
    with pytest.raises(TeacherError, match="loss ce, one before with bce"):
        combine_teachers([one, other])
    with pytest.raises(TeacherError, match=r"member 3 .* loss ce, one before with bce"):
        combine_teachers([cnn(2), one, other])
    assert combine_teachers([cnn(2), one]).loss == "bce"


def test_the_length_is_that_of_a_transformer(tmp_path: Path) -> None:
    long = cnn(0)
    long.num_frames = 96
    both = combine_teachers([long, ast(48)])
    assert both.num_frames == 48
    assert both(torch.randn(1, 48, 64)).shape == (1, 3)
