"""CNNs of timm as teachers, by timm's own networks and its list of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fastast.checkpoints.own import TEACHER
from fastast.frontend import ESC50
from fastast.teachers import TeacherError, create_teacher, load_teacher, save_teacher


def test_any_cnn_of_timm_is_a_teacher_and_gives_what_timm_gives() -> None:
    torch.manual_seed(0)
    teacher = create_teacher("resnet10t", 5)  # in training mode: untrained statistics leave next to nothing
    reference = timm.create_model("resnet10t", in_chans=1, num_classes=5)
    state = {key.removeprefix("backbone."): value for key, value in teacher.state_dict().items()}
    state["fc.weight"], state["fc.bias"] = state.pop("pooling.linear.weight"), state.pop("pooling.linear.bias")
    reference.load_state_dict(state)
    fbank = torch.randn(2, 96, 64)
    torch.testing.assert_close(teacher(fbank), reference(fbank.transpose(1, 2)[:, None]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "mobilenetv4_conv_small_050", "regnetx_002", "convnext_atto"]
)
def test_families_of_timm_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    teacher = create_teacher(name, 3, normalisation=ESC50, pooling="attention", average_frames=2).eval()
    again = load_teacher(save_teacher(tmp_path / "t.safetensors", teacher))
    assert again.name == name
    fbank = torch.randn(1, 128, 128)
    with torch.inference_mode():
        assert torch.equal(again(fbank), teacher(fbank))


def test_the_mean_of_frames_and_bins_comes_first() -> None:
    torch.manual_seed(0)
    whole = create_teacher("resnet10t", 5).eval()
    less = create_teacher("resnet10t", 5, average_frames=2, average_bins=4).eval()  # 2 frames, 4 mel bins
    less.load_state_dict(whole.state_dict())
    fbank = torch.randn(2, 128, 128)
    by_hand = fbank.reshape(2, 64, 2, 32, 4).mean((2, 4))
    torch.testing.assert_close(less(fbank), whole(by_hand))
    odd = torch.randn(1, 127, 128)  # the last frame is a mean of its own
    padded = torch.cat([odd, odd[:, -1:]], 1)
    torch.testing.assert_close(less(odd), less(padded))


@pytest.mark.parametrize("value", [0, 2.0, "2", 17, True])
@pytest.mark.parametrize("option", ["average_frames", "average_bins"])
def test_what_cannot_be_averaged_is_refused(option: str, value: object) -> None:
    with pytest.raises(TeacherError, match=f"resnet10t: {option} is .* whole number from 1 to 16"):
        create_teacher("resnet10t", 5, **{option: value})


def test_a_network_without_a_map_of_features_is_refused() -> None:
    with pytest.raises(TeacherError, match=r"not a map.*use a CNN, such as resnet18"):
        create_teacher("swin_tiny_patch4_window7_224", 5)(torch.randn(1, 224, 224))


def test_names_that_nobody_knows_are_refused_with_what_there_is() -> None:
    with pytest.raises(TeacherError, match=r"Did you mean 'efficientnet_b.*and every CNN of timm"):
        create_teacher("efficientnet_bb", 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": []},
        {"options": {"members": 3}},
        {"options": {"members": [{}]}},
        {"name": 3},
        {"normalisation": 3},
        {"normalisation": {"a": 1}},
        {"labels": 3},
    ],
)
def test_a_damaged_header_is_said(wrong: dict[str, object], tmp_path: Path) -> None:
    path = save_teacher(tmp_path / "t.safetensors", create_teacher("resnet10t", 3, normalisation=ESC50))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[TEACHER])
    save_file(load_file(path), path, {TEACHER: json.dumps(header | wrong)})
    with pytest.raises(TeacherError, match=re.escape(str(path))):
        load_teacher(path)


def test_a_file_that_claims_a_larger_network_than_it_holds_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path = save_teacher(tmp_path / "t.safetensors", create_teacher("resnet10t", 3, normalisation=ESC50))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()[TEACHER].replace("resnet10t", "convnextv2_huge")  # 2.6 GB of weights
    save_file(load_file(path), path, {TEACHER: header})
    with pytest.raises(
        TeacherError, match=r"says convnextv2_huge, which has 6\d\d,\d\d\d,\d\d\d numbers, but the file"
    ):
        load_teacher(path)


def test_mean_pooling_is_a_function_of_time_only() -> None:
    teacher = create_teacher("resnet10t", 5).eval()
    fbank = torch.randn(2, 96, 64)
    features = teacher.backbone.forward_features(fbank.transpose(1, 2)[:, None])  # type: ignore[operator, union-attr]
    linear = teacher.pooling.linear  # type: ignore[union-attr]
    torch.testing.assert_close(teacher(fbank), F.linear(features.mean((2, 3)), linear.weight, linear.bias))  # type: ignore[arg-type, union-attr]
