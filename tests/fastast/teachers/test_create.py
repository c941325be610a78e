"""Teachers by name: one protocol, clear refusals, and files that bring back the same network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import fastast
from fastast.frontend import AUDIOSET, ESC50, SPEECH_COMMANDS
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import (
    Teacher,
    TeacherError,
    create_teacher,
    load_teacher,
    save_teacher,
    teacher_identity,
    teacher_names,
)

SMALL_AST = {"num_frames": 96, "num_mel_bins": 64, "depth": 2}
MAKERS: dict[str, Callable[[], Teacher]] = {
    "efficientnet_mean": lambda: create_teacher("efficientnet_b0", 5, normalisation=ESC50),
    "efficientnet_attention": lambda: create_teacher("efficientnet_b0", 5, normalisation=ESC50, pooling="attention"),
    "ast": lambda: create_teacher("ast_tiny", 5, normalisation=ESC50, **SMALL_AST),
    "ast_patchout": lambda: create_teacher(
        "ast_tiny", 5, normalisation=ESC50, patchout_freq=2, patchout_time=3, **SMALL_AST
    ),
    "aisfx": lambda: create_teacher("aisfx_cnn9", 5, normalisation=ESC50, num_mel_bins=64),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_all_take_a_filterbank_and_give_logits_and_come_back_from_a_file(
    make: Callable[[], Teacher], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    teacher = make()
    fbank = torch.randn(2, 96, 64)
    logits = teacher.train()(fbank)  # training moves batch norm's statistics: they must be saved too
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in teacher.parameters())
    path = save_teacher(tmp_path / "teacher.safetensors", teacher, labels=list("abcde"), training={"epochs": 3})
    again = load_teacher(path, num_classes=5)
    assert torch.equal(again(fbank), teacher.eval()(fbank))
    assert again.normalisation == ESC50
    assert again.labels == tuple("abcde")
    assert not again.training
    assert teacher_identity(again) == teacher_identity(teacher)
    assert again.options == teacher.options


def test_the_big_cnn_is_efficientnet_b2() -> None:
    teacher = create_teacher("efficientnet_b2", 527)
    count = sum(p.numel() for p in teacher.parameters())
    # 9,109,994 parameters with 3 channels and 1,000 classes (timm's results table: 9.11 M): less two channels of 32
    # 3 x 3 filters, and the head changed.
    assert count == 9_109_994 - 2 * 32 * 9 - 1409 * 1000 + 1409 * 527
    teacher.eval()
    with torch.inference_mode():
        assert teacher(torch.randn(1, 128, 128)).shape == (1, 527)


def test_the_mean_pooled_cnn_is_timms_with_its_own_pooling() -> None:
    torch.manual_seed(0)
    teacher = create_teacher("efficientnet_b0", 5)  # in training mode: untrained statistics leave next to nothing
    import timm

    reference = timm.create_model("efficientnet_b0", pretrained=False, in_chans=1, num_classes=5)
    state = {key.removeprefix("backbone."): value for key, value in teacher.state_dict().items()}
    state["classifier.weight"] = state.pop("pooling.linear.weight")
    state["classifier.bias"] = state.pop("pooling.linear.bias")
    reference.load_state_dict(state)
    fbank = torch.randn(2, 96, 64)
    logits = teacher(fbank)
    assert float(logits.detach().std()) > 0.01
    torch.testing.assert_close(logits, reference(fbank.transpose(1, 2)[:, None]), atol=1e-4, rtol=1e-3)


def test_attention_goes_over_time_and_frequency_is_averaged() -> None:
    torch.manual_seed(0)
    teacher = create_teacher("efficientnet_b0", 5, pooling="attention")
    fbank = torch.randn(2, 160, 64)  # 5 steps of time and 2 of frequency come out
    features = teacher.backbone(fbank.transpose(1, 2)[:, None])  # type: ignore[operator]
    assert features.shape[2:] == (2, 5)
    by_hand = (features[:, :, 0] + features[:, :, 1]) / 2
    torch.testing.assert_close(teacher(fbank), teacher.pooling(by_hand))  # type: ignore[operator]


def test_an_embedded_model_is_a_teacher_as_it_is() -> None:
    teacher = load_teacher("ast_tiny_soundscapes", num_classes=64)
    fbank = torch.randn(1, 512, 128)
    model = fastast.create_model("ast_tiny_soundscapes").eval()
    with torch.inference_mode():
        assert torch.equal(teacher(fbank), model(fbank))
    assert teacher.normalisation == model.normalisation
    assert teacher.labels == model.labels


def test_other_classes_are_refused_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="has 64 classes, but the student has 527"):
        load_teacher("ast_tiny_soundscapes", num_classes=527)
    with pytest.raises(TeacherError, match="has 64 classes, but the student has 10"):
        create_teacher("ast_tiny_soundscapes", 10)
    path = save_teacher(tmp_path / "t.safetensors", MAKERS["aisfx"]())
    with pytest.raises(TeacherError, match="has 5 classes, but the student has 6"):
        load_teacher(path, num_classes=6)


@pytest.mark.parametrize("loss", ["ce", None])
def test_the_loss_comes_back_and_notes_of_before_have_it(tmp_path: Path, loss: str | None) -> None:
    teacher = MAKERS["aisfx"]()
    teacher.loss = loss
    assert load_teacher(save_teacher(tmp_path / "t.safetensors", teacher)).loss == loss
    teacher.loss = None
    noted = save_teacher(tmp_path / "n.safetensors", teacher, training={"recipe": {"loss": "ce"}})
    assert load_teacher(noted).loss == "ce"


def test_a_new_head_keeps_everything_else() -> None:
    teacher = create_teacher("ast_tiny_soundscapes", 10, new_head=True)
    old = fastast.create_model("ast_tiny_soundscapes").state_dict()
    for key, value in teacher.state_dict().items():
        if not key.startswith("model.head.linear"):
            assert torch.equal(value, old[key.removeprefix("model.")]), key
    assert teacher.labels is None
    assert teacher(torch.randn(1, 512, 128)).shape == (1, 10)


def test_a_checkpoint_of_other_length_serves_and_is_saved_as_it_is(tmp_path: Path) -> None:
    teacher = create_teacher("ast_tiny_soundscapes", 64, num_frames=256, patchout_time=4).eval()
    path = save_teacher(tmp_path / "t.safetensors", teacher)
    fbank = torch.randn(1, 256, 128)
    assert torch.equal(load_teacher(path, num_classes=64)(fbank), teacher(fbank))


def test_an_ast_checkpoint_is_a_teacher(tmp_path: Path, small_model: AudioSpectrogramTransformer) -> None:
    path = fastast.save_checkpoint(tmp_path / "ast.safetensors", small_model, normalisation=SPEECH_COMMANDS)
    teacher = load_teacher(path, num_classes=5)
    fbank = torch.randn(2, 176, 48)
    assert torch.equal(teacher(fbank), small_model(fbank))
    assert teacher.normalisation == SPEECH_COMMANDS
    moved = path.rename(tmp_path / "moved.safetensors")
    assert teacher_identity(load_teacher(moved, num_classes=5)) == teacher_identity(teacher)


def test_the_identity_knows_every_weight_and_statistic() -> None:
    teacher = MAKERS["efficientnet_mean"]()
    seen = {teacher_identity(teacher)}
    assert seen == {teacher_identity(copy.deepcopy(teacher).eval())}
    dropping, whole = MAKERS["ast_patchout"](), MAKERS["ast"]()
    whole.load_state_dict(dropping.state_dict())
    assert teacher_identity(dropping) == teacher_identity(whole)  # they answer alike
    other = create_teacher("ast_tiny", 5, normalisation=ESC50, num_heads=6, **SMALL_AST)  # the same tensors, and not
    other.load_state_dict(dropping.state_dict())
    assert teacher_identity(other) != teacher_identity(whole)
    with torch.no_grad():
        teacher.pooling.linear.bias[2] += 1e-6  # type: ignore[index, operator, union-attr]
    seen.add(teacher_identity(teacher))
    next(m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)).running_mean.add_(1e-3)  # type: ignore[union-attr]
    seen.add(teacher_identity(teacher))
    teacher.normalisation = AUDIOSET
    seen.add(teacher_identity(teacher))
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: create_teacher("efficientnet_b0", 5, poolling="mean"), "unknown option 'poolling'.*'pooling'"),
        (lambda: create_teacher("efficientnet_b0", 5, pooling="max"), "mean, attention"),
        (lambda: create_teacher("efficientnet_b0", 0), "num_classes is 0"),
        (lambda: create_teacher("ast_tiny", 5, pooling="mean"), "unknown field 'pooling'"),
        (lambda: create_teacher("ast_tiny", 5, patchout_freq=12), "the grid has 12 such lines, so it must be 0 to 11"),
        (lambda: create_teacher("aisfx_cnn9", 5), "no normalisation"),
        (lambda: load_teacher("nowhere.safetensors", num_classes=5), "no such teacher.*ast_tiny_soundscapes"),
    ],
)
def test_what_cannot_be_is_named(make: Callable[[], object], text: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        make()


def test_all_names_are_listed_when_one_is_unknown() -> None:
    with pytest.raises(ValueError, match="unknown teacher") as caught:
        create_teacher("resnet", 5)
    assert all(name in str(caught.value) for name in teacher_names())


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"fastast_teacher": "{}"})
    with pytest.raises(TeacherError, match="must have version 1 and the keys"):
        load_teacher(path, num_classes=5)
    save_file({"a": torch.zeros(1)}, path, {"fastast_teacher": "{"})
    with pytest.raises(TeacherError, match="not JSON"):
        load_teacher(path, num_classes=5)
    path.write_bytes(b"nothing")
    with pytest.raises(fastast.CheckpointError, match="t.safetensors"):
        load_teacher(path, num_classes=5)


def test_a_teacher_that_cannot_be_saved_leaves_the_old_file(tmp_path: Path) -> None:
    teacher = MAKERS["aisfx"]()
    path = save_teacher(tmp_path / "t.safetensors", teacher)
    before = path.read_bytes()
    with pytest.raises(TeacherError, match="3 labels for a teacher of 5 classes"):
        save_teacher(path, teacher, labels=["a", "b", "c"])
    with torch.no_grad():
        next(teacher.parameters())[0] = float("nan")
    with pytest.raises(TeacherError, match="not finite"):
        save_teacher(path, teacher)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


@pytest.mark.parametrize("name", ["efficientnet_mean", "aisfx"])
def test_a_spectrogram_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(TeacherError, match="filterbank has shape"):
        MAKERS[name]()(torch.zeros(2, 1, 96, 64))
