"""The model of a recipe and its initial weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fastast.checkpoints import save_checkpoint
from fastast.data.soundscapes import CLASSES
from fastast.frontend import AUDIOSET
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import create_teacher, load_teacher, save_teacher
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.parts.model import ModelPart
from fastast.training.weights.build import build_recipe_model, recipe_frontend, save_model, start_from_imagenet
from fastast.zoo import create_model


def test_a_model_can_begin_with_an_image_transformer() -> None:
    """Compared with timm's forward: for the same patch grid and a grey picture, the features are the same."""
    torch.manual_seed(0)
    image = timm.create_model("deit_tiny_distilled_patch16_224").eval()
    model = create_model("ast_tiny", num_classes=3, num_mel_bins=224, num_frames=224, fstride=16, tstride=16).eval()
    head = model.head.linear.weight.clone()
    start_from_imagenet(model, image.state_dict())
    picture = torch.randn(2, 224, 224)  # (b, f, m); frequency is the height of the picture
    expected = image.forward_features(picture.transpose(1, 2)[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(model.forward_features(picture), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.head.linear.weight, head)


def test_the_grid_of_an_image_transformer_is_fitted_and_wrong_weights_are_named() -> None:
    image = timm.create_model("deit_tiny_distilled_patch16_224").state_dict()
    model = create_model("ast_tiny", num_classes=3, num_frames=512)
    start_from_imagenet(model, image)
    assert model.pos_embed.shape == (1, model.geometry.num_tokens, 192)
    with pytest.raises(ValueError, match=r"weight 'dist_token' is missing"):
        start_from_imagenet(model, {key: value for key, value in image.items() if key != "dist_token"})
    with pytest.raises(ValueError, match=r"weight 'cls_token' has shape \(1, 1, 192\), the model's is \(1, 1, 384\)"):
        start_from_imagenet(create_model("ast_small", num_classes=3), image)


def test_patchout_begins_with_an_image_transformer_too(tmp_path: Path) -> None:
    path = tmp_path / "deit.safetensors"
    save_file(timm.create_model("deit_tiny_distilled_patch16_224").state_dict(), path)
    plain = ModelPart(name="ast_tiny", imagenet=str(path), options={"num_frames": 128})
    patchout = dataclasses.replace(plain, options={"num_frames": 128, "patchout_time": 2})
    ours, theirs = (build_recipe_model(part, ("a", "b"), AUDIOSET).state_dict() for part in (patchout, plain))
    trained = [key for key in theirs if not key.startswith("head.")]
    assert len(trained) > 100
    assert all(torch.equal(ours[f"model.{key}"], theirs[key]) for key in trained)


def test_a_checkpoint_with_other_classes_needs_a_new_head(
    small_model: AudioSpectrogramTransformer, tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model, labels=list("abcde"), normalisation=AUDIOSET)
    part = ModelPart(name="ast_tiny", checkpoint=str(path))
    assert isinstance(build_recipe_model(part, tuple("abcde"), AUDIOSET), AudioSpectrogramTransformer)
    patchout = dataclasses.replace(part, options={"patchout_time": 1})
    both = "only the data has 'x', 'y'; only the model has 'a', 'b', 'c', 'd' and 1 more"
    for classes, difference in (("xy", both), ("abcxd", "only the data has 'x'; only the model has 'e'")):
        with pytest.raises(ValueError, match=rf"{difference}; or set model.new_head = true"):
            build_recipe_model(part, tuple(classes), AUDIOSET)
    with pytest.raises(ValueError, match=r"only the data has 'x'; only the model has 'e'; or set model.new_head"):
        build_recipe_model(patchout, tuple("abcxd"), AUDIOSET)
    fitted = build_recipe_model(ModelPart(name="ast_tiny", checkpoint=str(path), new_head=True), ("x", "y"), AUDIOSET)
    state, old = fitted.state_dict(), small_model.state_dict()
    assert state["head.linear.weight"].shape == (2, 32)
    assert all(torch.equal(state[key], old[key]) for key in old if not key.startswith("head.linear."))
    assert fitted.labels == ("x", "y")


@pytest.mark.parametrize("options", [{}, {"patchout_time": 1}], ids=["AST", "patchout"])
def test_weights_of_the_same_classes_in_another_order_begin_by_name(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor, tmp_path: Path, options: dict[str, int]
) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model, labels=list("abcde"), normalisation=AUDIOSET)
    part = ModelPart(name="ast_tiny", checkpoint=str(path), options=options)
    said: list[str] = []
    model = build_recipe_model(part, tuple("cabed"), AUDIOSET, say=said.append).eval()
    torch.testing.assert_close(model(small_fbank), small_model(small_fbank)[:, [2, 0, 1, 4, 3]])
    assert model.labels == tuple("cabed")
    assert said == [f"{path}: its classes are the data's in another order; the outputs were matched by name"]


def test_weights_without_names_do_not_begin_unless_they_are_stated(
    small_model: AudioSpectrogramTransformer, small_fbank: Tensor, tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model, normalisation=AUDIOSET)
    part = ModelPart(name="ast_tiny", checkpoint=str(path))
    with pytest.raises(ValueError, match=r"nothing says .* model.labels FILE .*; or set model.new_head = true"):
        build_recipe_model(part, tuple("cabed"), AUDIOSET)
    own = small_model(small_fbank)
    as_data = build_recipe_model(dataclasses.replace(part, labels="data"), tuple("cabed"), AUDIOSET).eval()
    torch.testing.assert_close(as_data(small_fbank), own)
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    named = dataclasses.replace(part, labels=str(tmp_path / "names.txt"))
    torch.testing.assert_close(
        build_recipe_model(named, tuple("cabed"), AUDIOSET).eval()(small_fbank), own[:, [2, 0, 1, 4, 3]]
    )
    with pytest.raises(
        ValueError, match=r"model.labels names outputs of trained weights, but this model's last layer is new"
    ):
        ModelPart(name="ast_tiny", labels="data")


def test_a_cnn_and_patchout_are_models_too_and_unknown_names_are_not() -> None:
    cnn = ModelPart(name="efficientnet_b0", options={"num_frames": 100})
    model = build_recipe_model(cnn, ("a", "b"), AUDIOSET)
    assert model(torch.randn(2, 100, 128)).shape == (2, 2)
    assert recipe_frontend(model, cnn, AUDIOSET).num_frames == 100
    shipped = ModelPart(name="cnn_small_soundscapes")
    model = build_recipe_model(shipped, CLASSES, AUDIOSET)
    assert recipe_frontend(model, shipped, AUDIOSET).num_frames == 512  # what it was trained on, not AST's 1,024
    patchout = ModelPart(name="ast_tiny", options={"num_frames": 128, "patchout_time": 4})
    assert build_recipe_model(patchout, ("a", "b"), AUDIOSET)(torch.randn(1, 128, 128)).shape == (1, 2)
    with pytest.raises(ValueError, match=r"model.name: unknown model 'efficientnet_bb'. Did you mean 'efficientnet_b"):
        build_recipe_model(ModelPart(name="efficientnet_bb"), ("a",), AUDIOSET)


@pytest.mark.parametrize(
    "part",
    [
        ModelPart(name="aisfx_cnn9", trained="head"),
        ModelPart(name="efficientnet_b0", trained="head", options={"pooling": "attention", "pretrained": False}),
        ModelPart(name="ast_tiny", trained="head", options={"depth": 1, "num_frames": 64}),
        ModelPart(name="ast_tiny", trained="head", options={"depth": 1, "num_frames": 64, "patchout_time": 1}),
    ],
    ids=lambda part: f"{part.name}-{len(part.options)}",
)
def test_a_head_learns_on_features_that_stay(part: ModelPart) -> None:
    torch.manual_seed(0)
    model = build_recipe_model(part, ("a", "b"), AUDIOSET).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(torch.randn(4, 64, 128)).square().sum().backward()
    optimiser.step()
    # The state includes batch-norm statistics.
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(".head" in f".{key}" or ".pooling" in f".{key}" for key in changed), changed


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_trained_cnn_begins_with_its_weights(pooling: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cnn = create_teacher("resnet10t", 3, normalisation=AUDIOSET, pooling=pooling, average_bins=2).eval()
    path = save_teacher(tmp_path / "cnn.safetensors", cnn, labels=list("abc"))
    part = ModelPart(name="resnet10t", checkpoint=str(path), options={"num_frames": 64})
    fbank = torch.randn(2, 64, 128)
    said: list[str] = []
    begun = build_recipe_model(part, tuple("cab"), AUDIOSET, say=said.append).eval()
    torch.testing.assert_close(begun(fbank), cnn(fbank)[:, [2, 0, 1]])
    assert said == [f"{path}: its classes are the data's in another order; the outputs were matched by name"]
    with pytest.raises(
        ValueError, match=r"only the data has 'x'; only the model has 'c'; or set model.new_head = true"
    ):
        build_recipe_model(part, tuple("abx"), AUDIOSET)
    fitted = build_recipe_model(dataclasses.replace(part, new_head=True), ("x", "y"), AUDIOSET)
    assert fitted.eval()(fbank).shape == (2, 2)
    assert fitted.num_classes == 2
    state, old = fitted.state_dict(), cnn.state_dict()
    assert all(torch.equal(state[key], old[key]) for key in old if not key.startswith("pooling."))
    again = save_model(tmp_path / "again.safetensors", fitted, fitted.state_dict(), ("x", "y"), {})
    torch.testing.assert_close(load_teacher(again)(fbank), fitted(fbank))


def test_the_embedded_cnn_begins_as_it_is() -> None:
    shipped = load_teacher("cnn_small_soundscapes")
    begun = build_recipe_model(ModelPart(name="cnn_small_soundscapes"), shipped.labels, AUDIOSET).eval()
    fbank = torch.randn(1, 64, 128)
    torch.testing.assert_close(begun(fbank), shipped(fbank))


def test_a_cnn_of_another_kind_or_shape_is_refused(tmp_path: Path) -> None:
    path = save_teacher(tmp_path / "cnn.safetensors", create_teacher("resnet10t", 2), labels=["a", "b"])
    part = ModelPart(name="resnet18", checkpoint=str(path))
    with pytest.raises(ValueError, match=r"cnn.safetensors is resnet10t, and model.name says resnet18"):
        build_recipe_model(part, ("a", "b"), AUDIOSET)
    for option, value in (("pooling", "attention"), ("average_bins", 2)):
        other = ModelPart(name="resnet10t", checkpoint=str(path), options={option: value})
        with pytest.raises(ValueError, match=rf"model.options.{option} is {value!r}, and .* was trained otherwise"):
            build_recipe_model(other, ("a", "b"), AUDIOSET)
    with pytest.raises(ValueError, match=r"model.checkpoint: .*there is no such teacher"):
        build_recipe_model(ModelPart(name="resnet10t", checkpoint="none.safetensors"), ("a", "b"), AUDIOSET)
    with pytest.raises(ValueError, match=r"ast_tiny_soundscapes is .*, and model.name says resnet10t"):
        build_recipe_model(ModelPart(name="resnet10t", checkpoint="ast_tiny_soundscapes"), ("a", "b"), AUDIOSET)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "ast_tiny_soundscapes", "imagenet": "deit.pth"}, "has weights of its own"),
        ({"name": "cnn_small_soundscapes", "imagenet": "deit.pth"}, "has weights of its own"),
        ({"name": "resnet18", "drop_path_rate": 0.3}, r"drop_path_rate is 0.3, which is for transformers"),
        ({"name": "cnn_small_soundscapes", "drop_path_rate": 0.3}, r"drop_path_rate is 0.3, which is for transformers"),
        ({"name": "ast_tiny", "options": {"drop_path_rate": 0.3}}, r"for a transformer, model\.drop_path_rate sets it"),
        (
            {"name": "ast_tiny", "options": {"drop_path_rate": 0.3, "patchout_time": 1}},
            r"model\.options\.drop_path_rate: for a transformer, model\.drop_path_rate sets it",
        ),
    ],
)
def test_what_would_not_be_heeded_is_refused(part: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_recipe_model(ModelPart(**part), CLASSES, AUDIOSET)  # type: ignore[arg-type]


def test_keys_that_weights_would_not_follow_are_refused(
    small_model: AudioSpectrogramTransformer, tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model, labels=list("abcde"), normalisation=AUDIOSET)
    for options in ({}, {"patchout_time": 1}):
        part = ModelPart(name="ast_base", checkpoint=str(path), options=options)
        with pytest.raises(
            RecipeError, match=r"model\.name is ast_base, which is 768 wide, and .*a\.safetensors is 32"
        ):
            build_recipe_model(part, tuple("abcde"), AUDIOSET)
    for name in ("ast_tiny", "resnet10t"):
        with pytest.raises(RecipeError, match=rf"model\.new_head is true, and {name} begins without weights"):
            build_recipe_model(ModelPart(name=name, new_head=True), ("a", "b"), AUDIOSET)
