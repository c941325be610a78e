"""Every checkpoint format in, and FastAST's own out.

Oracles: timm's distilled DeiT, assembled as the original AST is, and (where installed) transformers' own AST.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    LABELS,
    SMALL,
    huggingface_config,
    huggingface_folder,
    huggingface_names,
    original_names,
    small_model,
    spectrogram,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastast.checkpoints import Checkpoint, CheckpointError, load_checkpoint, load_model, save_checkpoint
from fastast.checkpoints.layouts import expected_shapes
from fastast.frontend import AUDIOSET, ESC50
from fastast.geometry import Geometry, geometry
from fastast.model import AudioSpectrogramTransformer


def assert_same_state(got: Any, expected: Any) -> None:
    assert set(got) == set(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype, key
        assert torch.equal(got[key], tensor), key


# Own files


def test_the_keys_and_shapes_are_those_of_the_model() -> None:
    for shape in (SMALL, geometry("tiny", depth=1, qkv_bias=False, mlp_ratio=2.0, fstride=12)):
        model = AudioSpectrogramTransformer(shape)
        assert expected_shapes(shape) == {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_saving_and_loading_gives_every_bit_back(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: tensor.to(dtype) for key, tensor in small_model().state_dict().items()}
    path = save_checkpoint(
        tmp_path / "a.safetensors", state, geometry=SMALL, labels=LABELS, normalisation=ESC50, training={"steps": 7}
    )
    checkpoint = load_checkpoint(path)
    assert_same_state(checkpoint.state, state)
    assert_same_state(load_file(path), state)
    assert (checkpoint.geometry, checkpoint.labels, checkpoint.normalisation) == (SMALL, LABELS, ESC50)
    assert (checkpoint.training, checkpoint.format, checkpoint.path) == ({"steps": 7}, "fastast", path)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    again = save_checkpoint(tmp_path / "b.safetensors", checkpoint)
    assert again.read_bytes() == path.read_bytes()
    model = load_model(path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert_same_state(model.state_dict(), {key: tensor.float() for key, tensor in state.items()})


def test_a_model_takes_everything_along(tmp_path: Path) -> None:
    model = small_model()
    model.labels, model.normalisation = LABELS, AUDIOSET
    loaded = load_model(save_checkpoint(tmp_path / "a.safetensors", model)).eval()
    assert (loaded.geometry, loaded.labels, loaded.normalisation) == (SMALL, LABELS, AUDIOSET)
    assert torch.equal(loaded(spectrogram(SMALL)), model(spectrogram(SMALL)))
    half = save_checkpoint(tmp_path / "b.safetensors", model, dtype=torch.float16)
    assert load_checkpoint(half).state["pos_embed"].dtype == torch.float16
    assert load_model(half, dtype=torch.float64).pos_embed.dtype == torch.float64


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, small_model(seed=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": ("a", "b")}, "2 labels for a head of 3 classes"),
        ({"training": {"x": object()}}, "not JSON"),
        ({"training": {"loss": float("nan")}}, "not JSON"),
        ({"geometry": dataclasses.replace(SMALL, num_classes=5)}, r"'head\.linear\.weight' has shape \(3, 64\)"),
    ],
)
def test_saving_what_cannot_be_loaded_again_is_refused(tmp_path: Path, arguments: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        save_checkpoint(tmp_path / "a.safetensors", small_model(), **arguments)
    with pytest.raises(CheckpointError, match="pass geometry="):
        save_checkpoint(tmp_path / "a.safetensors", small_model().state_dict())
    assert not list(tmp_path.iterdir())


def test_the_embedded_model_holds_the_trained_weights() -> None:
    from fastast.zoo import EMBEDDED

    path = EMBEDDED["ast_tiny_soundscapes"]
    notes = json.loads(path.with_suffix(".training.json").read_text())
    checkpoint = load_checkpoint(path)
    assert checkpoint.geometry == geometry("tiny", num_frames=512, num_classes=64)
    assert checkpoint.labels == tuple(notes["classes"])
    assert checkpoint.normalisation is not None
    assert (checkpoint.normalisation.mean, checkpoint.normalisation.std) == (notes["mean"], notes["std"])
    assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float16}
    assert checkpoint.training is not None
    assert checkpoint.training["steps"] == notes["steps"]


def test_the_weights_that_were_trained_merged_are_those_of_their_log() -> None:
    from fastast.training.recipe.file import load_recipe
    from fastast.zoo import EMBEDDED

    path = EMBEDDED["ast_tiny_soundscapes_merged"]
    notes = json.loads(path.with_suffix(".training.json").read_text())
    checkpoint, before = load_checkpoint(path), load_checkpoint(EMBEDDED["ast_tiny_soundscapes"])
    assert (checkpoint.geometry, checkpoint.labels) == (before.geometry, before.labels)
    assert checkpoint.normalisation == before.normalisation
    assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float16}
    assert checkpoint.training is not None
    assert checkpoint.training["step"] == notes["steps"] == 2048
    assert checkpoint.training["identity"] == notes["identity"] == load_recipe("soundscapes_tiny_merged").identity
    changed = [key for key, value in checkpoint.state.items() if not torch.equal(value, before.state[key])]
    assert len(changed) > len(before.state) / 2


def test_the_weights_that_the_cnn_taught_are_of_their_recipe_and_have_the_scores_of_the_study() -> None:
    from fastast.training.recipe.file import load_recipe
    from fastast.zoo import EMBEDDED

    path = EMBEDDED["ast_tiny_soundscapes_taught"]
    notes = json.loads(path.with_suffix(".training.json").read_text())
    checkpoint, before = load_checkpoint(path), load_checkpoint(EMBEDDED["ast_tiny_soundscapes"])
    assert (checkpoint.geometry, checkpoint.labels) == (before.geometry, before.labels)
    assert checkpoint.normalisation == before.normalisation
    assert {tensor.dtype for tensor in checkpoint.state.values()} == {torch.float16}
    assert checkpoint.training is not None
    assert checkpoint.training["identity"] == notes["identity"] == load_recipe(notes["recipe"]).identity
    assert checkpoint.training["step"] == notes["steps"]
    results = (
        Path(__file__).parents[3] / "results" / "studies" / notes["study"] / notes["arm"] / f"seed-{notes['seed']}"
    )
    assert json.loads((results / "recipe.json").read_text())["identity"] == notes["identity"]
    scored = json.loads((results / "result.json").read_text())["test"]
    assert notes["test"] == {schedule: {"mAP": found["mAP"], "AUC": found["AUC"]} for schedule, found in scored.items()}


# The original AST# The original AST


class OriginalAST(nn.Module):
    """The original's modules under its names, put together from timm as its paper describes."""

    def __init__(self, shape: Geometry) -> None:
        super().__init__()
        from timm.models.deit import VisionTransformerDistilled

        d = shape.embed_dim
        self.v = VisionTransformerDistilled(
            img_size=32, embed_dim=d, depth=shape.depth, num_heads=shape.num_heads, num_classes=1000
        )
        self.v.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, d, 16, (shape.fstride, shape.tstride))})
        self.v.pos_embed = nn.Parameter(torch.zeros(1, shape.num_tokens, d))
        self.mlp_head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, shape.num_classes))

    def forward(self, fbank: Tensor) -> Tensor:
        v = self.v
        x = v.patch_embed["proj"](fbank.unsqueeze(1).transpose(2, 3)).flatten(2).transpose(1, 2)
        prefix = (v.cls_token.expand(len(x), -1, -1), v.dist_token.expand(len(x), -1, -1))
        x = v.norm(v.blocks(torch.cat([*prefix, x], 1) + v.pos_embed))
        return self.mlp_head((x[:, 0] + x[:, 1]) / 2)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("zipped", [True, False])
def test_an_original_checkpoint_gives_the_originals_logits(tmp_path: Path, prefix: str, zipped: bool) -> None:
    shape = geometry("tiny", depth=2, num_classes=5, num_frames=128, fstride=12, tstride=12)
    torch.manual_seed(0)
    original = OriginalAST(shape).eval()
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    path = tmp_path / "audioset.pth"
    state = {prefix + key: tensor for key, tensor in original.state_dict().items()}
    assert f"{prefix}v.head_dist.weight" in state  # the ImageNet heads that its files carry along
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.format, checkpoint.geometry) == ("original", shape)
    with torch.no_grad():
        got, expected = load_model(path).eval()(spectrogram(shape)), original(spectrogram(shape))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        exact = load_model(path, dtype=torch.float64).eval()(spectrogram(shape).double())
        torch.testing.assert_close(exact, original.double()(spectrogram(shape).double()), atol=1e-11, rtol=0)


# Token counts worked out from AST's formula: (128 - 16) // s + 1 rows, (frames - 16) // s + 1 columns, 2 more tokens.
TOKENS = {(10, 1024): 1214, (10, 512): 602, (10, 128): 146, (12, 1024): 852, (14, 1024): 659, (16, 1024): 514}
TOKENS |= {(12, 512): 422, (14, 512): 326, (16, 512): 258, (12, 128): 102, (14, 128): 83, (16, 128): 66}


@pytest.mark.parametrize(("stride", "frames"), TOKENS)
def test_strides_and_frames_are_told_by_the_number_of_tokens(tmp_path: Path, stride: int, frames: int) -> None:
    shape = geometry("tiny", depth=1, fstride=stride, tstride=stride, num_frames=frames)
    state = {key: torch.zeros(size) for key, size in expected_shapes(shape).items()}
    assert state["pos_embed"].shape[1] == TOKENS[stride, frames]
    torch.save(original_names(state), tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").geometry == shape


def test_unequal_strides_are_asked_for_and_believed(tmp_path: Path) -> None:
    shape = geometry("tiny", depth=1, fstride=12, tstride=10)
    state = {key: torch.zeros(size) for key, size in expected_shapes(shape).items()}
    torch.save(original_names(state), tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"a\.pth: key 'module\.v\.pos_embed' has 1012 .*fstride 12, tstride 10"
    ) as e:
        load_checkpoint(tmp_path / "a.pth")
    assert "1016 to 1025 frames" in str(e.value)
    assert "geometry={" in str(e.value)
    assert load_checkpoint(tmp_path / "a.pth", geometry={"fstride": 12, "tstride": 10}).geometry == shape
    with pytest.raises(CheckpointError, match="no field 'stride'"):
        load_checkpoint(tmp_path / "a.pth", geometry={"stride": 12})


def test_an_ambiguous_number_of_tokens_lists_the_candidates(tmp_path: Path) -> None:
    # One row of patches: 32 columns of stride 16 at 512 frames, and none else; 8 mel bins more make no other row.
    shape = geometry("tiny", depth=1, num_mel_bins=20, num_frames=128, fstride=14, tstride=16)
    state = {key: torch.zeros(size) for key, size in expected_shapes(shape).items()}
    torch.save(original_names(state), tmp_path / "a.pth")
    known = {"num_mel_bins": 20, "tstride": 16, "num_frames": 128}
    with pytest.raises(CheckpointError, match="Candidates: fstride 10, .*; fstride 12, .*; fstride 14, "):
        load_checkpoint(tmp_path / "a.pth", geometry=known)
    assert load_checkpoint(tmp_path / "a.pth", geometry=known | {"fstride": 14}).geometry == shape


def test_a_width_that_does_not_tell_the_heads_is_asked_for(tmp_path: Path) -> None:
    shape = dataclasses.replace(SMALL, embed_dim=96, num_heads=3)
    torch.save(original_names(small_model(shape).state_dict()), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="width of 96.*'num_heads'"):
        load_checkpoint(tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth", geometry={"num_heads": 3}).geometry == shape


# Hugging Face


HF = dataclasses.replace(SMALL, norm_eps=1e-12, head_norm_eps=1e-12)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_either_transformers_version_is_read(tmp_path: Path, version: int, name: str) -> None:
    state = small_model().state_dict()
    named = huggingface_names(state, version)
    (save_file if name.endswith("safetensors") else torch.save)(named, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(huggingface_config(SMALL)))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {"mean": -6.6268077, "std": 5.358466, "max_length": 128, "num_mel_bins": 128, "sampling_rate": 16000}
        )
    )
    checkpoint = load_checkpoint(tmp_path)
    assert_same_state(checkpoint.state, state)
    assert (checkpoint.geometry, checkpoint.labels, checkpoint.normalisation) == (HF, LABELS, ESC50)
    assert checkpoint.format == "huggingface"
    assert checkpoint.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    beside = load_checkpoint(tmp_path / name)
    assert (beside.geometry, beside.labels, beside.normalisation) == (HF, LABELS, ESC50)


def test_a_file_without_its_folder_is_inferred(tmp_path: Path) -> None:
    save_file(huggingface_names(small_model().state_dict()), tmp_path / "model.safetensors")
    checkpoint = load_checkpoint(tmp_path / "model.safetensors", normalisation=AUDIOSET, labels=LABELS)
    assert (checkpoint.geometry, checkpoint.labels, checkpoint.normalisation) == (HF, LABELS, AUDIOSET)


def test_models_without_biases_of_queries_keys_and_values_are_read(tmp_path: Path) -> None:
    shape = dataclasses.replace(SMALL, qkv_bias=False)
    folder = huggingface_folder(tmp_path / "hf", shape)
    assert load_checkpoint(folder).geometry.qkv_bias is False
    torch.save(original_names(small_model(shape).state_dict()), tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").geometry == shape


def test_a_front_end_that_does_not_normalise_leaves_features_as_they_are(tmp_path: Path) -> None:
    folder = huggingface_folder(tmp_path / "hf")
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "mean": -4.0, "std": 4.0}))
    normalisation = load_checkpoint(folder).normalisation
    assert normalisation is not None
    assert torch.equal(normalisation(torch.arange(5.0)), torch.arange(5.0))


def shard(folder: Path) -> dict[str, Tensor]:
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, key in enumerate(whole)}
    for name in set(names.values()):
        save_file({key: whole[key] for key in whole if names[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return whole


def test_shards_are_put_together(tmp_path: Path) -> None:
    whole = load_checkpoint(huggingface_folder(tmp_path / "hf"))
    shard(tmp_path / "hf")
    assert_same_state(load_checkpoint(tmp_path / "hf").state, whole.state)
    (tmp_path / "hf" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002.safetensors: this shard is missing"):
        load_checkpoint(tmp_path / "hf")


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    shard(huggingface_folder(tmp_path / "hf"))
    index = tmp_path / "hf" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    first = next(iter(content["weight_map"]))
    content["weight_map"][first] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"{re.escape(first)}.*elsewhere.*must be a file next to it"):
        load_checkpoint(tmp_path / "hf")


def hf_model(shape: Geometry, spread: float) -> Any:
    """transformers' own AST with random weights; `spread` more random than it starts."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=shape.embed_dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.num_heads,
        intermediate_size=4 * shape.embed_dim,
        frequency_stride=shape.fstride,
        time_stride=shape.tstride,
        max_length=shape.num_frames,
        num_labels=shape.num_classes,
    )
    torch.manual_seed(0)
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=spread)
    return model


@pytest.mark.oracle
@pytest.mark.parametrize(("size", "frames"), [("tiny", 1024), ("base", 256)])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_the_logits_are_those_of_transformers(tmp_path: Path, size: str, frames: int, spread: float) -> None:
    shape = geometry(size, num_frames=frames)
    model = hf_model(shape, spread)
    model.save_pretrained(tmp_path)
    x = spectrogram(shape, batch=1)
    with torch.no_grad():
        expected = model(x).logits
        got = load_model(tmp_path).eval()(x)
        differs = (got - expected).abs().max()
        print(f"{size} spread {spread}: largest logit {expected.abs().max():.3g}, differs by {differs:.2g}")
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("stride", [10, 12, 14, 16])
def test_the_strides_of_transformers_agree(tmp_path: Path, stride: int) -> None:
    shape = dataclasses.replace(SMALL, fstride=stride, tstride=stride, num_frames=512, depth=1)
    model = hf_model(shape, 0.1)
    model.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "in_memory.pth")  # the other names, in transformers 5
    loaded = load_model(tmp_path).eval()
    assert loaded.pos_embed.shape[1] == model.audio_spectrogram_transformer.embeddings.position_embeddings.shape[1]
    assert_same_state(load_checkpoint(tmp_path / "in_memory.pth").state, loaded.state_dict())
    with torch.no_grad():
        x = spectrogram(shape)
        torch.testing.assert_close(loaded(x), model(x).logits, atol=1e-5, rtol=0)
        exact = load_model(tmp_path, dtype=torch.float64).eval()(x.double())
        torch.testing.assert_close(exact, model.double()(x.double()).logits, atol=1e-12, rtol=0)


# Another input length


def test_another_number_of_frames_takes_the_middle_of_the_position_embeddings(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model())
    whole, half = load_model(path), load_model(path, num_frames=64)
    assert half.geometry == dataclasses.replace(SMALL, num_frames=64)
    grid = whole.pos_embed[0, 2:].reshape(8, 8, 64)  # rows of frequency, columns of time
    expected = torch.cat([whole.pos_embed[0, :2], grid[:, 2:6].reshape(32, 64)])
    assert torch.equal(half.pos_embed[0], expected)
    assert torch.equal(half.blocks[1].attn.qkv.weight, whole.blocks[1].attn.qkv.weight)


def test_an_override_that_weights_cannot_follow_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model())
    with pytest.raises(CheckpointError, match="num_classes = 3 and cannot become 10.*model.head.linear"):
        load_model(path, num_classes=10)
    with pytest.raises(CheckpointError, match="no field 'frames'"):
        load_model(path, frames=10)
    assert load_model(path, num_classes=3).geometry == SMALL


def test_a_checkpoint_cannot_be_built_with_the_wrong_labels() -> None:
    with pytest.raises(CheckpointError, match="1 labels for a head of 3"):
        Checkpoint(state={}, geometry=SMALL, labels=("a",), format="fastast", sha256="", path=Path("a"))


def test_weights_of_numpy_shape_survive(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model())
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    header = json.loads(path.read_bytes()[8 : 8 + size])
    first, last = header["pos_embed"]["data_offsets"]
    stored = np.frombuffer(path.read_bytes()[8 + size + first : 8 + size + last], np.float32).reshape(1, 66, 64)
    np.testing.assert_array_equal(stored, small_model().pos_embed.detach().numpy())


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_an_own_file_says_the_loss(tmp_path: Path, loss: str) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", small_model(), loss=loss)
    assert load_checkpoint(path).loss == load_model(path).loss == loss
    again = save_checkpoint(tmp_path / "b.safetensors", load_model(path))
    assert load_checkpoint(again).loss == loss


def test_an_own_file_of_before_says_the_loss_in_its_notes_or_not_at_all(tmp_path: Path) -> None:
    noted = save_checkpoint(tmp_path / "a.safetensors", small_model(), training={"recipe": {"loss": "ce"}})
    assert load_checkpoint(noted).loss == "ce"
    silent = save_checkpoint(tmp_path / "b.safetensors", small_model(), training={"steps": 3})
    assert load_checkpoint(silent).loss is None
    with safe_open(silent, "pt") as file:
        header = json.loads(file.metadata()["fastast"])
    assert "loss" not in header  # the same bytes as ever


def test_a_loss_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a.safetensors: loss is 'hinge'; it must be one of bce, ce"):
        save_checkpoint(tmp_path / "a.safetensors", small_model(), loss="hinge")
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("kind", "loss"), [("single_label_classification", "ce"), ("multi_label_classification", "bce"), (None, None)]
)
def test_a_hugging_face_folder_says_the_loss_by_its_problem(tmp_path: Path, kind: str | None, loss: str | None) -> None:
    assert load_checkpoint(huggingface_folder(tmp_path / "hf", problem_type=kind)).loss == loss


@pytest.mark.parametrize(("width", "ratio"), [(512, 512 / 192), (513, 2.67)])
def test_an_own_file_of_before_may_have_cut_a_broken_width_off(tmp_path: Path, width: int, ratio: float) -> None:
    """2.67 times 192 is 512.64, which was cut off and is rounded now."""
    shape = geometry("tiny", depth=1, num_classes=3, num_frames=64, mlp_ratio=width / 192)
    written = small_model(shape)
    state = written.state_dict()
    assert state["blocks.0.mlp.fc1.weight"].shape == (width, 192)
    with safe_open(save_checkpoint(tmp_path / "new.safetensors", written), "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["fastast"])
    header["geometry"]["mlp_ratio"] = 2.67
    save_file(state, tmp_path / "old.safetensors", metadata | {"fastast": json.dumps(header)})
    loaded = load_model(tmp_path / "old.safetensors").eval()
    assert (loaded.geometry.mlp_ratio, loaded.geometry.mlp_dim) == (ratio, width)
    assert_same_state(loaded.state_dict(), state)
    fbank = torch.randn(1, 64, 128)
    torch.testing.assert_close(loaded(fbank), written(fbank), rtol=0, atol=0)
