"""Checkpoints as people have them: wrapped, of another length, without a normalisation, with odd names of classes."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import warnings
from pathlib import Path

import pytest
import torch
from checkpoint_files import SMALL, huggingface_folder, huggingface_names, original_names, small_model
from torch import Tensor
from typer.testing import CliRunner

from fastast.checkpoints import CheckpointError, CheckpointWarning, load_checkpoint, load_model
from fastast.checkpoints.targets import sha256_of_path
from fastast.classes import ClassesError, match_classes
from fastast.cli import app
from fastast.frontend import Frontend, Normalisation


def pth_with(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("prefix", "by"),
    [
        ("_orig_mod.", "torch.compile"),
        ("module._orig_mod.", "DataParallel or DDP and torch.compile"),
        ("_orig_mod.module.", "torch.compile and DataParallel or DDP"),
        ("model.", "Lightning"),
        ("net.model._orig_mod.", "the attribute 'net' and Lightning and torch.compile"),
    ],
)
def test_prefixes_of_wrappers_are_stripped_and_said(tmp_path: Path, prefix: str, by: str) -> None:
    model = small_model()
    for name in (lambda state: original_names(state, ""), huggingface_names):
        path = pth_with(tmp_path / "a.pth", {prefix + key: t for key, t in name(model.state_dict()).items()})
        said = re.escape(f"its keys begin with {prefix!r}, from {by}; it is left out")
        with pytest.warns(CheckpointWarning, match=said):
            loaded = load_model(path, geometry={"num_frames": SMALL.num_frames, "fstride": 16, "tstride": 16})
        assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_two_models_in_one_file_are_named(tmp_path: Path) -> None:
    state = original_names(small_model().state_dict(), "")
    both = {f"{name}.{key}": tensor for name in ("student", "teacher") for key, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"contains 2 models, whose keys begin with 'student\.', 'teacher\.'"):
        load_checkpoint(pth_with(tmp_path / "a.pth", both))


def test_the_weights_in_a_checkpoint_of_lightning_are_read(tmp_path: Path) -> None:
    model = small_model()
    inner = {f"model.{key}": tensor for key, tensor in original_names(model.state_dict(), "").items()}
    whole = {"epoch": 3, "state_dict": inner, "optimizer_states": [{"lr": 0.1}], "callbacks": {}}
    torch.save(whole, tmp_path / "last.ckpt")
    with pytest.warns(CheckpointWarning) as said:
        loaded = load_checkpoint(tmp_path / "last.ckpt", geometry={"num_frames": 128, "fstride": 16, "tstride": 16})
    assert ["key 'state_dict' is read" in str(one.message) for one in said] == [True, False]
    assert torch.equal(loaded.state["head.linear.weight"], model.head.linear.weight)
    torch.save({**whole, "state_dict": {**inner, "criterion.weight": torch.ones(3)}}, tmp_path / "last.ckpt")
    with (
        pytest.raises(CheckpointError, match=r"key 'criterion\.weight' has no place in the model"),
        pytest.warns(CheckpointWarning),
    ):
        load_checkpoint(tmp_path / "last.ckpt", geometry={"num_frames": 128, "fstride": 16, "tstride": 16})


def test_another_length_says_which_option_loads_it_and_it_does(tmp_path: Path) -> None:
    """312 frames at stride 10 are 30 patches along time and 12 along frequency: 362 tokens."""
    shape = dataclasses.replace(SMALL, num_frames=312, fstride=10, tstride=10)
    path = pth_with(tmp_path / "a.pth", original_names(small_model(shape).state_dict()))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "362 position embeddings" in str(caught.value)
    assert "What would fit: fstride 10, tstride 10, 306 to 315 frames" in str(caught.value)
    assert "--geometry num_frames=N" in str(caught.value)
    assert load_checkpoint(path, geometry={"num_frames": 312}).geometry.num_tokens == 362
    shown = CliRunner().invoke(app, ["info", str(path), "--geometry", "num_frames=312"])
    assert shown.exit_code == 0, shown.output
    assert "362 tokens" in shown.output
    given = ["convert", str(path), "--out", str(tmp_path / "own.safetensors"), "--geometry", "num_frames=312"]
    shown = CliRunner().invoke(app, [*given, "--normalisation=-6.5,5.25", "--loss", "ce"])
    assert shown.exit_code == 0, shown.output
    own = load_checkpoint(tmp_path / "own.safetensors")
    assert (own.geometry, own.normalisation, own.loss) == (shape, Normalisation(mean=-6.5, std=5.25), "ce")


def test_a_converted_file_tells_what_it_does_not_say(tmp_path: Path) -> None:
    path = pth_with(tmp_path / "a.pth", original_names(small_model(SMALL).state_dict()))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")

    def said(*given: str) -> str:
        shown = CliRunner().invoke(app, ["convert", str(path), "--out", str(tmp_path / "own.safetensors"), *given])
        assert shown.exit_code == 0, shown.output
        return shown.stderr

    silent = "own.safetensors: written without {}, which other commands need; give them here"
    assert silent.format("--normalisation and --labels") in said()
    assert silent.format("--labels") in said("--normalisation=-6.5,5.25")
    assert silent.format("--normalisation") in said("--labels", str(tmp_path / "names.txt"))
    assert said("--normalisation=-6.5,5.25", "--labels", str(tmp_path / "names.txt")) == ""


def test_tokens_that_other_strides_make_too_are_said(tmp_path: Path) -> None:
    """128 frames at stride 10 and 288 to 303 at stride 16 are 146 tokens."""
    shape = dataclasses.replace(SMALL, num_frames=300)
    path = pth_with(tmp_path / "a.pth", original_names(small_model(shape).state_dict()))
    with pytest.warns(CheckpointWarning, match="assuming fstride 10, .*fstride 16, tstride 16, 288 to 303 frames"):
        load_checkpoint(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = {"num_frames": 300, "fstride": 16, "tstride": 16}
        assert load_checkpoint(path, geometry=said).geometry == shape


def test_the_next_lines_of_the_readme_work_on_an_original_of_audioset(tmp_path: Path) -> None:
    shape = dataclasses.replace(SMALL, num_frames=1024, fstride=16, tstride=16, num_classes=527)
    path = pth_with(tmp_path / "audioset_16_16_0.4422.pth", original_names(small_model(shape).state_dict()))
    with pytest.warns(CheckpointWarning, match="527 classes and 1,024 frames, .* that of AudioSet is assumed"):
        model = load_model(path)
    assert model.normalisation == Normalisation(mean=-4.2677393, std=4.5689974)
    assert Frontend(model.geometry, model.normalisation)([torch.zeros(16_000)]).shape == (1, 1024, 128)


def test_names_that_stand_twice_are_refused_where_classes_are_matched(tmp_path: Path) -> None:
    folder = huggingface_folder(tmp_path / "hf", id2label={"0": "bell", "1": "drum", "2": "bell"})
    names = load_checkpoint(folder).labels
    assert names == ("bell", "drum", "bell")
    with pytest.raises(ClassesError, match="the model has 'bell' more than once"):
        match_classes("hf", names, 3, ("bell", "drum", "gong"))


def test_a_gap_in_the_names_is_named(tmp_path: Path) -> None:
    folder = huggingface_folder(tmp_path / "hf", id2label={"0": "bell", "2": "drum"})
    with pytest.raises(CheckpointError, match="it has 2 names and lacks '1'"):
        load_checkpoint(folder)
    folder = huggingface_folder(tmp_path / "hf", id2label={"2": "c", "0": "a", "1": "b"})
    assert load_checkpoint(folder).labels == ("a", "b", "c")  # by number, whatever the order in the file


@pytest.mark.parametrize(
    "command",
    [
        ["tune", "own.pth", "--data", "smoke", "--speedup", "2"],
        ["learn-merging", "own.pth", "--data", "smoke", "-o", "out"],
        ["average", "own.pth", "own.pth", "-o", "out"],
        ["ensemble", "own.pth", "own.pth", "-o", "out"],
        ["train", "smoke", "-s", "model.checkpoint=own.pth", "-o", "run"],
        ["export", "own.pth", "-o", "out.onnx"],
        ["evaluate", "own.pth", "smoke"],
        ["info", "own.pth"],
    ],
    ids=lambda command: command[0],
)
def test_what_an_error_advises_can_be_done(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a length that is not in the file: what it says to write is an option of the command, or of one it names."""
    monkeypatch.chdir(tmp_path)
    odd = dataclasses.replace(SMALL, num_frames=300)
    pth_with(Path("own.pth"), original_names(small_model(odd).state_dict()))
    runner = CliRunner()
    said = " ".join(runner.invoke(app, command).output.split())
    assert "--geometry num_frames=N" in said
    if "--geometry" not in runner.invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).output:
        assert "`fastast convert`" in said
        options = ["--geometry", "num_frames=300", "--geometry", "fstride=16", "--geometry", "tstride=16"]
        made = runner.invoke(app, ["convert", "own.pth", "-o", "own.safetensors", *options, "--normalisation=-5,4"])
        assert made.exit_code == 0, made.output
        assert load_model("own.safetensors").geometry == odd


def test_what_is_written_beside_a_model_in_its_folder_makes_no_other_model_of_it(tmp_path: Path) -> None:
    folder = huggingface_folder(tmp_path / "hf")
    parts = [(folder / name).read_bytes() for name in ("config.json", "model.safetensors")]
    assert sha256_of_path(folder) == hashlib.sha256(b"".join(parts)).hexdigest()
    (folder / "tuned.toml.journal").write_text("{}")
    (folder / "merging.safetensors.states").mkdir()
    (folder / "merging.safetensors.states" / "state.json").write_text("{}")
    assert sha256_of_path(folder) == hashlib.sha256(b"".join(parts)).hexdigest()
    (folder / "preprocessor_config.json").write_text("{}")
    assert sha256_of_path(folder) == hashlib.sha256(parts[0] + parts[1] + b"{}").hexdigest()
