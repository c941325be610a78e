"""`fastast train` and `fastast evaluate` as typed on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastast.checkpoints import save_checkpoint
from fastast.cli import app
from fastast.data.soundscapes.pool import pool_path
from fastast.frontend import Normalisation
from fastast.teachers import create_teacher, save_teacher
from fastast.training.run_folder.logging import read_log
from fastast.zoo import create_model

real = pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")
CLASSES = ("dog", "rain", "clock_tick", "siren")
SHAPE = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_frames": 32, "fstride": 16, "tstride": 16}
NORMALISATION = Normalisation(mean=-6.0, std=5.0)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def said(*arguments: object) -> str:
    """Return the message of a command that fails, after checking that it is one line."""
    out = run(*arguments, code=1)
    assert out.startswith("fastast: ")
    assert out.count("\n") == 1, out
    return out


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained AST of 18 tokens whose classes are the four tones."""
    model = create_model("ast_tiny", num_classes=4, **SHAPE)
    return save_checkpoint(tmp_path / "ast.safetensors", model, labels=CLASSES, normalisation=NORMALISATION)


def test_what_is_trained_is_evaluated(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    out = run(
        "train", recipe_file, "--out", folder, "--device", "cpu", "-q", "-s", "steps=3", "-s", "reduction.r=[0, 3]"
    )
    result = json.loads(out.splitlines()[-1])
    assert result == {"folder": str(folder), **json.loads((folder / "result.json").read_text())}
    asked = ("evaluate", folder / "model.safetensors", recipe_file, "--device", "cpu")
    found = json.loads(run(*asked, "--schedule", "constant:0", "--schedule", "constant:3", "--json"))
    assert found["metrics"] == result["test"]
    assert (found["split"], found["clips"], found["skipped"]) == ("test", 8, [])
    table = run(*asked, "--split", "train").splitlines()
    assert table[0].startswith("train: 32 clips, 0 corrupt ones left out; chance mAP 0.25")
    assert table[2].split()[0] == "unmerged"
    assert "--resume" in said("train", recipe_file, "--out", folder, "--device", "cpu")


def test_a_recipe_can_be_looked_at_and_a_wrong_one_is_one_line(recipe_file: Path) -> None:
    seen = json.loads(run("train", recipe_file, "--check", "-s", "optimiser.lr=0.5"))
    assert seen["optimiser"]["lr"] == 0.5
    assert "optimiser.lr is 'x'; it must be a number" in said("train", recipe_file, "-s", "optimiser.lr=x")
    assert "data: root is 3; it must be text" in said("train", recipe_file, "-s", "data.root=3")
    assert "Did you mean 'smoke'" in said("evaluate", "ast_tiny_soundscapes", "smoky")


def test_a_setting_of_the_model_that_evaluation_would_ignore_is_refused(recipe_file: Path, weights: Path) -> None:
    refused = said("evaluate", weights, recipe_file, "--device", "cpu", "--set", "model.options.num_frames=64")
    assert "--set model.options.num_frames=64: evaluate measures" in refused
    assert "as its file describes it" in refused


def test_evaluation_merges_as_the_recipe_does(recipe_file: Path, weights: Path) -> None:
    # Of 16 unprotected tokens, 8 can be removed.
    asked = ("evaluate", weights, recipe_file, "--device", "cpu", "--schedule", "constant:9")
    assert "can remove 8, not 9" in said(*asked)
    merged = {
        name: json.loads(run(*asked, "--json", *settings))["metrics"]["constant:9"]
        for name, settings in {
            "recipe": ("--set", "reduction={r=3, excess='cap'}"),
            "evaluation": ("--set", "run.evaluate_excess=cap"),
            "option": ("--excess", "cap"),
            "other": ("--set", "reduction={r=3, excess='cap', metric='tokens', proportional=false}"),
        }.items()
    }
    assert merged["recipe"] == merged["evaluation"] == merged["option"]
    assert merged["other"]["mAP"] != merged["option"]["mAP"]
    assert "--excess cap" in said(*asked, "--set", "reduction={r=3, excess='cap'}", "--excess", "refuse")


def test_a_model_of_other_classes_is_no_teacher(recipe_file: Path, weights: Path, tmp_path: Path) -> None:
    two = save_checkpoint(tmp_path / "two.safetensors", create_model("ast_tiny", num_classes=2, **SHAPE))
    other = save_checkpoint(
        tmp_path / "other.safetensors",
        create_model("ast_tiny", num_classes=4, **SHAPE),
        labels=("dog", "wind", "rain", "siren"),
        normalisation=NORMALISATION,
    )
    cnn = create_teacher("efficientnet_b0", 3, normalisation=NORMALISATION)
    three = save_teacher(tmp_path / "three.safetensors", cnn.eval())
    messages = {
        path: said("evaluate", path, recipe_file, "--device", "cpu")
        for path in (two, other, three, tmp_path / "gone.safetensors")
    }
    assert f"{two}: it has 2 unnamed outputs, but the data has 4 classes" in messages[two]
    assert f"{three}: it has 3 unnamed outputs, but the data has 4 classes" in messages[three]
    difference = "only the data has 'clock_tick'; only the model has 'wind'"
    assert f"{other}: its 4 classes are not the 4 of the data: {difference}" in messages[other]
    assert "no such file" in messages[tmp_path / "gone.safetensors"]
    assert not any(word in message for message in messages.values() for word in ("teacher", "student"))


def test_a_cnn_is_evaluated_too(recipe_file: Path, tmp_path: Path) -> None:
    cnn = create_teacher("efficientnet_b0", 4, normalisation=NORMALISATION)
    path = save_teacher(tmp_path / "cnn.safetensors", cnn.eval(), labels=CLASSES)
    asked = ("evaluate", path, recipe_file, "--device", "cpu", "--set", "model={name='efficientnet_b0'}")
    assert "unmerged" in run(*asked)
    assert f"{path}: this model has no tokens to merge; leave --schedule out" in said(
        *asked, "--schedule", "constant:1"
    )


def test_corrupt_clips_in_a_worker_are_named_replaced_and_counted(
    recipe_file: Path, esc50_root: Path, weights: Path, tmp_path: Path
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(esc50_root, root)
    (root / "audio" / "2-1-0.wav").write_bytes(b"RIFFhalf")  # in the training set
    (root / "audio" / "1-0-0.wav").write_bytes(b"")  # in the test fold
    settings = ("-s", f"data.root={root}", "-s", "run.workers=1", "-s", "steps=0", "-s", "epochs=2")
    out = run("train", recipe_file, "--out", tmp_path / "run", "--device", "cpu", "-q", *settings)
    result = json.loads(out.splitlines()[-1])
    assert [Path(name).name for name in result["corrupt"]] == ["2-1-0.wav"]
    assert (result["steps"], result["test_clips"], result["test_skipped"]) == (8, 7, 1)
    counted = [event["corrupt"] for event in read_log(tmp_path / "run") if event["event"] == "epoch"]
    assert counted == [1, 1]
    asked = ("evaluate", weights, recipe_file, "--device", "cpu", "--set", f"data.root={root}")
    assert "test: 7 clips, 1 corrupt ones left out" in run(*asked, "--set", "run.workers=1")
    for clip in (root / "audio").glob("1-*.wav"):
        clip.write_bytes(b"")
    empty = said(*asked)
    first = root / "audio" / "1-0-0.wav"
    assert f"no clip could be read; the first says: {first}: the file is empty (0 bytes)" in empty
    assert empty.count(str(first)) == 1


@real
def test_the_merged_weights_are_evaluated_as_they_were_trained() -> None:
    asked = ("ast_tiny_soundscapes_merged", "soundscapes_tiny_merged", "--set", "data.test_clips=2", "--device", "cpu")
    assert "constant:300" in run("evaluate", *asked, "--schedule", "constant:300")


def test_an_evaluation_says_that_clips_had_their_own_length(recipe_file: Path, weights: Path) -> None:
    asked = ("evaluate", weights, recipe_file, "--device", "cpu")
    assert json.loads(run(*asked, "--own-length", "--json"))["own_length"] is True
    assert "own_length" not in json.loads(run(*asked, "--json"))
    assert "; shorter clips at their own length" in run(*asked, "--own-length").splitlines()[0]


def test_an_evaluation_says_how_many_clips_are_longer_than_the_input(recipe_file: Path, tmp_path: Path) -> None:
    """A quarter of a second has 1 + (4,000 - 400) // 160 = 23 frames; 0.205 s has 19."""

    def evaluated(frames: int, *more: str) -> str:
        model = create_model("ast_tiny", num_classes=4, **SHAPE | {"num_frames": frames})
        path = save_checkpoint(tmp_path / "ast.safetensors", model, labels=CLASSES, normalisation=NORMALISATION)
        return run("evaluate", path, recipe_file, "--device", "cpu", *more)

    assert json.loads(evaluated(23, "--json"))["cut"] == 0
    assert json.loads(evaluated(22, "--json"))["cut"] == 8
    assert "not heard" not in evaluated(23)
    said = evaluated(19).splitlines()
    assert said[0].startswith("test: 8 clips, 0 corrupt ones left out")
    assert said[1] == "  8 of 8 clips are longer than the model's 0.205 s: their ends were not heard"
