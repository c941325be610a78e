"""Files that are no checkpoint, or not quite: each is refused with one error that names the file and the key."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import LABELS, SMALL, huggingface_folder, original_names, small_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastast.checkpoints import CheckpointError, load_checkpoint, load_model, save_checkpoint
from fastast.commands.describe import model_geometry
from fastast.frontend import ESC50
from fastast.teachers import create_teacher, load_teacher, save_teacher
from fastast.zoo import trained_path

Maker = Callable[[Path], Path]
QKV = "module.v.blocks.1.attn.qkv.weight"
HF = "audio_spectrogram_transformer"


def edited(mapping: Mapping[str, Any], drop: str | None, put: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != drop} | dict(put or {})


def own(
    drop: str | None = None,
    put: Mapping[str, Any] | None = None,
    header: Mapping[str, Any] | None = None,
    drop_header: str | None = None,
    shape: Mapping[str, Any] | None = None,
) -> Maker:
    """FastAST's own file, with tensors, header entries or fields of its geometry left out or exchanged."""

    def make(folder: Path) -> Path:
        path = save_checkpoint(folder / "own.safetensors", small_model(), labels=LABELS, normalisation=ESC50)
        with safe_open(path, "pt") as file:
            entry = edited(json.loads(file.metadata()["fastast"]), drop_header, header)
        entry["geometry"] = edited(entry["geometry"], None, shape)
        save_file(edited(load_file(path), drop, put), path, {"fastast": json.dumps(entry)})
        return path

    return make


def pth(drop: str | None = None, put: Mapping[str, Any] | None = None) -> Maker:
    """An original AST file, with tensors left out or exchanged."""
    return saved(lambda: edited(original_names(small_model().state_dict()), drop, put))


def saved(content: Callable[[], object]) -> Maker:
    """Whatever `content` returns, written by torch.save."""

    def make(folder: Path) -> Path:
        torch.save(content(), folder / "original.pth")
        return folder / "original.pth"

    return make


def folder_with(**config: object) -> Maker:
    """A Hugging Face folder with keys of its config.json exchanged."""
    return lambda folder: huggingface_folder(folder / "hf", **config)


def folder_beside(name: str, content: bytes | dict[str, object] | None) -> Maker:
    """A Hugging Face folder with one file exchanged, or taken away."""

    def make(folder: Path) -> Path:
        path = huggingface_folder(folder / "hf")
        if content is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return make


def raw(name: str, content: bytes) -> Maker:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(make: Maker, share: float) -> Maker:
    """The first part of a sound file."""

    def cut_one(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return cut_one


def zip_of_text(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    return folder / "weights.pth"


def header_that_is_not_json(folder: Path) -> Path:
    save_file({"cls_token": torch.ones(1)}, folder / "a.safetensors", {"fastast": "{"})
    return folder / "a.safetensors"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
BROKEN: dict[str, tuple[Maker, str]] = {
    # tensors
    "missing key, own": (own(drop="norm.bias"), r"key 'norm\.bias' is missing"),
    "missing token, own": (own(drop="cls_token"), "key 'cls_token' is missing"),
    "missing key, original": (pth(drop=QKV), f"key '{QKV}' is missing"),
    "missing position, original": (pth(drop="module.v.pos_embed"), r"key 'module\.v\.pos_embed' is missing"),
    "renamed key, original": (
        pth(drop="module.v.norm.bias", put={"module.v.nrom.bias": torch.ones(64)}),
        r"'module\.v\.norm\.bias' is missing \(it has 'module\.v\.nrom\.bias'\)",
    ),
    "extra key, own": (own(put={"gamma": torch.ones(3)}), "key 'gamma' has no place"),
    "extra key, original": (pth(put={"module.v.gamma": torch.ones(3)}), r"key 'module\.v\.gamma' has no place"),
    "misshapen, own": (
        own(put={"blocks.0.mlp.fc2.bias": torch.ones(65)}),
        r"'blocks\.0\.mlp\.fc2\.bias' has shape \(65,\); \(64,\) was expected",
    ),
    "misshapen, original": (pth(put={QKV: torch.ones(192, 63)}), rf"'{QKV}' has shape \(192, 63\)"),
    "flat token, original": (
        pth(put={"module.v.cls_token": torch.ones(64)}),
        r"'module\.v\.cls_token' has shape \(64,\)",
    ),
    "integer weights": (own(put={"norm.bias": torch.ones(64).int()}), r"'norm\.bias' is torch\.int32"),
    "NaN weights": (own(put={"norm.bias": torch.full((64,), torch.nan)}), r"'norm\.bias' holds NaN"),
    # files
    "safetensors cut in the header": (cut(own(), 0.001), r"own\.safetensors: the file is cut off"),
    "safetensors cut in a tensor": (cut(own(), 0.7), r"own\.safetensors: .*cut off or damaged"),
    "pth cut": (cut(pth(), 0.5), r"original\.pth: .*cut off or damaged"),
    "pth of 10 bytes": (raw("a.pth", b"PK\x03\x04" + bytes(6)), r"a\.pth: .*cut off or damaged"),
    "zero bytes": (raw("a.safetensors", b""), r"a\.safetensors: the file is empty"),
    "a picture": (raw("a.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(99)), r"a\.safetensors: .*PNG"),
    "a zip of text": (zip_of_text, r"weights\.pth: not a PyTorch file"),
    "text": (raw("a.pth", b"see README for the weights\n"), r"a\.pth: .*text that begins with b'see README"),
    "a web page": (raw("a.pth", b"<!doctype html>"), "web page"),
    "an LFS pointer": (raw("a.safetensors", POINTER), r"a\.safetensors: .*git lfs pull"),
    "a file that is not there": (lambda folder: folder / "none.pth", r"none\.pth: there is no such file"),
    # what torch.save writes
    "a state inside a key": (
        saved(lambda: {"epoch": 3, "model": original_names(small_model().state_dict())}),
        "the state dict is inside the key 'model'; save that part alone",
    ),
    "a number among tensors": (pth(put={"epoch": 3}), "key 'epoch' holds a int, not a tensor"),
    "a list": (saved(lambda: [torch.ones(3)]), "holds a list, not a state dict"),
    "a whole model": (saved(lambda: torch.nn.Linear(2, 2)), "was not run"),
    "another model": (saved(lambda: {"fc.weight": torch.ones(3, 3)}), r"not an Audio Spectrogram.*'fc\.weight'"),
    "no tensors": (saved(dict), "contains no tensors"),
    "own keys without a header": (saved(lambda: small_model().state_dict()), "keys without FastAST's header"),
    # FastAST's header
    "wrong number of labels": (own(header={"labels": ["a", "b"]}), "2 labels for a head of 3 classes"),
    "a label that is a number": (own(header={"labels": ["a", "b", 3]}), "label 2 is 3, not text"),
    "a newer format": (own(header={"version": 2}), "version 2; this FastAST reads up to 1"),
    "a header without labels": (own(drop_header="labels"), "lacks the key 'labels'"),
    "a field too many": (own(shape={"width": 3}), "'geometry' .*'width'"),
    "an impossible geometry": (own(shape={"num_heads": 7}), r"num_heads 7"),
    "a contradictory geometry": (
        own(shape={"num_frames": 1024}),
        r"'pos_embed' has shape \(1, 66, 64\); \(1, 514, 64\) was expected",
    ),
    "a contradictory depth": (own(shape={"depth": 1}), r"'blocks\.1\..*' has no place"),
    "a bad normalisation": (own(header={"normalisation": {"mean": 0.0, "std": 0}}), "std is 0"),
    "a header that is not JSON": (header_that_is_not_json, "header 'fastast' is not JSON"),
    # Hugging Face folders
    "an empty folder": (lambda folder: folder, r"a folder without config\.json \(it has: nothing\)"),
    "a folder without weights": (folder_beside("model.safetensors", None), r"no weights next to config\.json"),
    "a config that is not JSON": (folder_beside("config.json", b"{"), r"config\.json: not readable as JSON"),
    "a config of another model": (folder_with(model_type="vit"), r"config\.json: model_type is 'vit'"),
    "another activation": (folder_with(hidden_act="relu"), "hidden_act is 'relu'"),
    "a width that is text": (folder_with(hidden_size="64"), "key 'hidden_size' is '64'"),
    "a config of another width": (
        folder_with(hidden_size=128),
        rf"'{HF}\.embeddings\.cls_token' has shape \(1, 1, 64\); \(1, 1, 128\) was expected",
    ),
    "a config of more blocks": (folder_with(num_hidden_layers=3), rf"'{HF}\.encoder\.layer\.2\.\S+' is missing"),
    "labels with a gap": (folder_with(id2label={"0": "a", "2": "b"}), "'id2label' must map"),
    "too few labels": (folder_with(id2label={"0": "a"}), r"'classifier\.dense\.weight' has shape \(3, 64\)"),
    "a front end of another rate": (
        folder_beside("preprocessor_config.json", {"sampling_rate": 32_000, "mean": 0, "std": 1}),
        r"preprocessor_config\.json: sampling_rate is 32000.*16000",
    ),
    "a front end of another length": (
        folder_beside("preprocessor_config.json", {"max_length": 1024, "mean": 0, "std": 1}),
        "max_length is 1024, but the model next to it takes 128",
    ),
    "a front end without mean": (
        folder_beside("preprocessor_config.json", {"std": 1.0}),
        r"preprocessor_config\.json: key 'mean' is missing",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("load", [load_checkpoint, load_model])
def test_a_broken_checkpoint_is_refused_by_file_and_key(tmp_path: Path, case: str, load: Callable[..., object]) -> None:
    make, says = BROKEN[case]
    path = make(tmp_path)
    with pytest.raises(CheckpointError, match=f"(?s){says}") as error:
        load(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 900


def test_the_sound_files_that_the_broken_ones_are_made_of_load(tmp_path: Path) -> None:
    for make in (own(), pth(), folder_with()):
        assert load_checkpoint(make(tmp_path)).geometry.embed_dim == SMALL.embed_dim


class Malice:
    """Pickles to a call of os.system."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("name", ["bare.pth", "zipped.pth", "legacy.pth", "named.safetensors"])
def test_a_malicious_pickle_is_refused_before_it_runs(tmp_path: Path, name: str) -> None:
    target, path = tmp_path / "harmed", tmp_path / name
    zipped, bare = name == "zipped.pth", name in ("bare.pth", "named.safetensors")
    if bare:
        path.write_bytes(pickle.dumps(Malice(target), protocol=2))
    else:
        torch.save({"module.v.cls_token": Malice(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{name}: .*was not run"):
        load_checkpoint(path)
    assert not target.exists()
    # It does harm where it is let: the test above would see it.
    if bare:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists()


def test_a_header_that_claims_a_huge_size_is_refused_at_once(tmp_path: Path) -> None:
    path = raw("a.safetensors", struct.pack("<Q", 1 << 40) + b"{" + bytes(100))(tmp_path)
    with pytest.raises(CheckpointError, match="cut off: its header alone takes 1,099,511,627,784 bytes"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", ["module", "malice", "cut", "random"])
def test_a_refusal_never_quotes_advice_to_run_the_file_nor_codes_of_a_terminal(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.pth"
    made = {"module": torch.nn.Linear(2, 2), "malice": Malice(tmp_path / "harmed")}.get(content, {"a": torch.ones(4)})
    torch.save(made, path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif content == "random":
        path.write_bytes(b"\x80\x02" + bytes(range(100)))
    with pytest.raises(CheckpointError) as told:
        load_checkpoint(path)
    text = str(told.value)
    assert "weights_only" not in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1
    named = {"module": "torch.nn.modules.linear.Linear", "malice": "posix.system"}
    assert named.get(content, "cut off or damaged") in text
    # A traceback shows causes too: none of them gives the advice.
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__


@pytest.mark.parametrize("blocks", [3_000_000, 1_000_000_000])
def test_a_claimed_depth_is_held_against_the_file_before_anything_is_made_for_a_block(
    tmp_path: Path, blocks: int
) -> None:
    folder = huggingface_folder(tmp_path / "hf", num_hidden_layers=blocks)
    own = save_checkpoint(tmp_path / "own.safetensors", small_model())
    teacher = save_teacher(tmp_path / "t.safetensors", create_teacher("ast_tiny", 4, depth=1, num_frames=32))
    for path, entry in ((own, "fastast"), (teacher, "fastast_teacher")):
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[entry])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        header["geometry" if entry == "fastast" else "options"]["depth"] = blocks
        save_file(tensors, path, {entry: json.dumps(header)})
    numbered = tmp_path / "numbered.pth"
    torch.save(
        original_names(small_model().state_dict()) | {f"module.v.blocks.{blocks - 1}.x": torch.ones(1)}, numbered
    )
    for load, path in (
        (load_checkpoint, folder),
        (load_checkpoint, own),
        (load_checkpoint, numbered),
        (load_teacher, teacher),
    ):
        start = time.process_time()
        with pytest.raises(ValueError, match=f"{blocks:,}"):
            load(path)
        assert time.process_time() - start < 2  # 402 s for three million blocks, before


@pytest.mark.parametrize("load", [load_checkpoint, load_teacher, trained_path, model_geometry])
def test_an_id_of_the_hub_is_answered_with_how_to_fetch_it(load: Callable[[str], object]) -> None:
    hub = "MIT/ast-finetuned-audioset-10-10-0.4593"
    with pytest.raises(
        (ValueError, OSError), match=f"hf download {hub} --local-dir ast-finetuned-audioset-10-10-0.4593"
    ):
        load(hub)
    for path in ("gone.pth", "tests/gone", "runs/x/gone", "models/gone.safetensors"):
        with pytest.raises((ValueError, OSError)) as told:
            load(path)
        assert "hf download" not in str(told.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mlp_ratio", None), ("mlp_ratio", "4"), ("mlp_ratio", float("inf")), ("norm_eps", "x"), ("qkv_bias", "no")],
)
def test_a_number_of_the_geometry_that_is_none_is_said(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"geometry: {field} is "):
        dataclasses.replace(SMALL, **{field: value})  # type: ignore[arg-type]


def test_the_width_of_a_layer_is_not_one_less_by_rounding() -> None:
    for embed_dim, hidden in ((704, 960), (832, 960), (1216, 3392)):
        wide = dataclasses.replace(SMALL, embed_dim=embed_dim, num_heads=1, mlp_ratio=hidden / embed_dim)
        assert wide.mlp_dim == hidden
