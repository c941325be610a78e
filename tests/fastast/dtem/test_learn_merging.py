"""`fastast learn-merging` as a whole, on a very small model with random weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

import fastast
import fastast.dtem.command as learning
from fastast.checkpoints import load_checkpoint, load_model, save_checkpoint
from fastast.checkpoints.files import read_tensors
from fastast.cli import app
from fastast.data.datasets import DataOptions
from fastast.data.soundscapes.training import SoundscapesSet
from fastast.data.training_set import TrainingSet
from fastast.dtem.learner import MergeLearner, keys_of_blocks
from fastast.dtem.question import LearnMergingError, MergingQuestion
from fastast.dtem.soft import soft_forward
from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction.embedding import ENTRY, merge_embedding
from fastast.scores import Loss

CLASSES = ("Music", "Percussion", "Speech", "Hi-hat", "Snare drum", "Typing")
FEW = ["--data", "smoke", "-s", "data.val_clips=40", "--schedule", "constant:12", "--steps", "6", "--batch-size", "4"]
FEW += ["--clips", "20", "--device", "cpu"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    geometry = Geometry(embed_dim=32, depth=3, num_heads=2, num_classes=6, num_frames=192, fstride=16, tstride=16)
    model = AudioSpectrogramTransformer(geometry)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    state, normalisation = model.state_dict(), Normalisation(mean=-5.3, std=3.6)
    save_checkpoint(path, state, geometry=geometry, labels=CLASSES, normalisation=normalisation)
    return str(path)


def learn(checkpoint: str, out: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["learn-merging", checkpoint, *FEW, "-o", str(out), *more])
    return result.exit_code, result.output


def test_it_learns_writes_and_says_how_it_compares(checkpoint: str, tmp_path: Path) -> None:
    out = tmp_path / "merging.safetensors"
    code, said = learn(checkpoint, out)
    assert code == 0, said
    assert "on 20 validation clips, constant:12: answers move by" in said
    assert f"--method dtem --option weights={out}" in said
    assert not out.with_name("merging.safetensors.states").exists()
    found = merge_embedding(str(out))
    began, _ = keys_of_blocks(load_model(checkpoint))
    assert found.weight.shape == began.shape == (3, 16, 32)
    moved = (found.weight - began).abs().amax(dim=(1, 2)) > 1e-5
    assert moved.tolist() == [True, True, False]  # what merges behind the last attention changes nothing
    with safe_open(out, framework="pt") as file:
        training = json.loads(file.metadata()[ENTRY])["training"]
    assert training["steps"] == 6
    assert training["validation"][0]["low"] <= training["validation"][0]["high"]
    code, said = learn(checkpoint, out)
    assert code == 1
    assert "already exists; give another --out" in said


def test_an_interrupted_run_goes_on_to_the_same_layers(checkpoint: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "STATE_EVERY", 2)
    whole, parted = tmp_path / "whole.safetensors", tmp_path / "parted.safetensors"
    assert learn(checkpoint, whole)[0] == 0

    step = MergeLearner.step

    def killed(self: MergeLearner, number: int, fbank: torch.Tensor) -> float:
        if number == 4:
            raise KeyboardInterrupt
        return step(self, number, fbank)

    monkeypatch.setattr(MergeLearner, "step", killed)
    assert learn(checkpoint, parted)[0] != 0
    assert not parted.exists()
    monkeypatch.setattr(MergeLearner, "step", step)
    code, said = learn(checkpoint, parted, "--lr", "0.5")
    assert code == 1
    assert "lr was 0.001 and is now 0.5" in said
    code, said = learn(checkpoint, parted)
    assert code == 0, said
    assert "resuming after step 4" in said
    assert torch.equal(merge_embedding(str(parted)).weight, merge_embedding(str(whole)).weight)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("weights", "weights_sha256 was '[0-9a-f]{64}' and is now"),
        ("recipe", "recipe_identity was '[0-9a-f]{64}' and is now"),
        ("clips", "clips_sha256 was '[0-9a-f]{64}' and is now"),
        ("nothing", "resuming after step 2"),
        ("age", "these states are from an older FastAST"),
    ],
)
def test_states_go_on_with_the_weights_the_recipe_and_the_clips_they_are_of_alone(
    checkpoint: str, tmp_path: Path, monkeypatch, changed: str, message: str
) -> None:
    monkeypatch.setattr(learning, "STATE_EVERY", 2)
    model, recipe, out = tmp_path / "own.safetensors", tmp_path / "own.toml", tmp_path / "merging.safetensors"
    shutil.copy(checkpoint, model)
    text = (Path(fastast.__file__).parent / "training" / "recipes" / "smoke.toml").read_text()
    recipe.write_text(text)
    arguments = [str(model), out, "--data", str(recipe)]
    step = MergeLearner.step

    def killed(self: MergeLearner, number: int, fbank: torch.Tensor) -> float:
        if number == 2:
            raise KeyboardInterrupt
        return step(self, number, fbank)

    with monkeypatch.context() as patch:
        patch.setattr(MergeLearner, "step", killed)
        assert learn(*arguments)[0] != 0
    if changed == "weights":
        state, _ = read_tensors(model)
        state["head.linear.bias"] += 1
        found = load_checkpoint(model)
        save_checkpoint(model, state, geometry=found.geometry, labels=CLASSES, normalisation=found.normalisation)
    elif changed == "recipe":
        recipe.write_text(text.replace("train_clips = 256", "train_clips = 250"))
        assert recipe.read_text() != text
    elif changed == "clips":  # what is heard, under the same ids and labels
        clip = SoundscapesSet.clip

        def softer(self: SoundscapesSet, index: int, epoch: int) -> tuple[Any, Any]:
            samples, labels = clip(self, index, epoch)
            return samples / 2, labels

        monkeypatch.setattr(SoundscapesSet, "clip", softer)
    elif changed == "age":
        (path,) = out.with_name("merging.safetensors.states").rglob("state.json")
        state = json.loads(path.read_text())
        for key in ("weights_sha256", "recipe_identity", "clips_sha256"):  # which those of before do not have
            state["notes"]["question"].pop(key, None)
        path.write_text(json.dumps(state))
    code, said = learn(*arguments)
    assert code == (0 if changed == "nothing" else 1), said
    assert re.search(message, " ".join(said.split())), said


def test_too_few_validation_clips_are_noticed_before_the_first_step(
    checkpoint: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(MergeLearner, "step", lambda *_: pytest.fail("a step was taken"))
    out = tmp_path / "merging.safetensors"
    for setting, message in (
        ("data.val_clips=10", "val: 10 clips; at least 20 are needed"),
        ("data.train_clips=2", "2 clips"),
    ):
        code, said = learn(checkpoint, out, "-s", setting)
        assert code == 1
        assert message in said
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("loss", "unit"), [(None, "class"), ("bce", "class"), ("ce", "clip")])
def test_the_loss_is_that_of_the_weights_and_said_in_its_unit(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Loss | None, unit: str
) -> None:
    """The loss is a Kullback-Leibler divergence: of every class by itself, or of the classes of a clip."""
    found, own = load_checkpoint(checkpoint), str(tmp_path / "own.safetensors")
    save_checkpoint(
        own, found.state, geometry=found.geometry, labels=CLASSES, normalisation=found.normalisation, loss=loss
    )
    assert re.search(rf"step 6 of 6: \S+ nats per {unit}\n", learn(own, tmp_path / "merging.safetensors")[1])

    logits: list[torch.Tensor] = []

    def kept(*asked: Any, **how: Any) -> torch.Tensor:
        logits.append(soft_forward(*asked, **how))
        return logits[0]

    monkeypatch.setattr("fastast.dtem.learner.soft_forward", kept)
    model = load_model(own).eval()
    fbank = torch.randn(2, 192, 128, generator=torch.Generator().manual_seed(1))
    question = MergingQuestion(model=own, data="smoke", schedules=("constant:12",))
    excess = MergeLearner(question, model, torch.device("cpu")).step(0, fbank)
    both = [one.detach().double() for one in (model(fbank), logits[0])]
    if unit == "clip":
        p, q = (one.softmax(-1) for one in both)
        expected = (p * (p / q).log()).sum(-1).mean()
    else:
        p, q = (one.sigmoid() for one in both)
        expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert excess == pytest.approx(float(expected), rel=1e-2)
    assert expected > 1e-4


def test_splits_of_other_classes_are_refused_before_the_first_step(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedding would be compared with ToMe on columns that mean other classes."""
    monkeypatch.setattr(MergeLearner, "step", lambda *_: pytest.fail("a step was taken"))
    opened = learning.open_split

    def reversed_in_val(name: str, options: DataOptions, split: str) -> TrainingSet:
        data = opened(name, options, split)
        if split == "val":
            monkeypatch.setattr(data, "classes", tuple(data.classes)[::-1])
        return data

    monkeypatch.setattr(learning, "open_split", reversed_in_val)
    code, said = learn(checkpoint, tmp_path / "merging.safetensors")
    assert code == 1
    assert "the classes of the split val are not those of train" in " ".join(said.split())


def test_classes_that_a_file_does_not_name_can_be_named(checkpoint: str, tmp_path: Path, monkeypatch) -> None:
    def begun(*_: object) -> None:
        raise LearnMergingError("learning was begun")

    monkeypatch.setattr(learning, "MergeLearner", begun)
    unnamed, found = str(tmp_path / "unnamed.safetensors"), load_checkpoint(checkpoint)
    save_checkpoint(unnamed, found.state, geometry=found.geometry, normalisation=found.normalisation)
    code, said = learn(unnamed, tmp_path / "out.safetensors")
    assert code == 1
    assert "name them with --labels FILE" in " ".join(said.split())
    assert "learning was begun" in learn(unnamed, tmp_path / "out.safetensors", "--labels", "data")[1]


def test_it_lowers_its_loss_on_a_clip_that_it_sees_again_and_again(checkpoint: str) -> None:
    model = load_model(checkpoint).eval()
    question = MergingQuestion(
        model=checkpoint, data="smoke", schedules=("constant:12",), steps=60, lr=1e-3, temperature=0.1
    )
    learner = MergeLearner(question, model, torch.device("cpu"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fbank = torch.randn(2, 192, 128, generator=torch.Generator().manual_seed(1))
    losses = [learner.step(step, fbank) for step in range(60)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--temperature", "0"], "--temperature is 0.0; it must be above 0"),
        (["--precision", "int8"], "--precision is 'int8'; allowed: float32, bfloat16, float16"),
        (["--steps", "0"], "--steps is 0; give a whole number of at least 1"),
        (["--schedule", "constant:60"], "constant:60: block 1 of 3 has"),
        (["--schedule", "wave:3"], "wave"),
    ],
)
def test_a_bad_question_says_what_is_allowed(checkpoint: str, tmp_path: Path, more: list[str], message: str) -> None:
    code, said = learn(checkpoint, tmp_path / "merging.safetensors", *more)
    assert code in (1, 2)
    assert message in " ".join(said.split())
