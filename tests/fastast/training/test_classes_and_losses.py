"""Commands on models whose outputs are ordered differently from the data's classes, or trained with another loss."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from fastast.cli import app
from fastast.data.layouts.speech_commands import WORDS
from fastast.frontend import SPEECH_COMMANDS, Frontend
from tests.fastast.checkpoints.checkpoint_files import (
    SMALL,
    huggingface_config,
    huggingface_folder,
    huggingface_names,
    original_names,
    small_model,
)

SHUFFLED = tuple(random.Random(0).sample(WORDS, len(WORDS)))


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech Commands with one test clip per word, a tone."""
    root = tmp_path_factory.mktemp("speech_commands")
    time = np.arange(16_000) / 16_000
    for index, word in enumerate(WORDS):
        (root / word).mkdir()
        tone = 0.3 * np.sin(2 * np.pi * 150 * 1.1**index * time)
        soundfile.write(root / word / "a.wav", tone.astype(np.float32), 16_000)
    (root / "testing_list.txt").write_text("".join(f"{word}/a.wav\n" for word in WORDS))
    (root / "validation_list.txt").write_text("")
    return root


@pytest.fixture(scope="module")
def knows_all(words: Path) -> dict[str, Tensor]:
    """Weights that classify all 35 tones: a head solved for their features, with outputs in the order of SHUFFLED."""
    model = small_model(dataclasses.replace(SMALL, num_classes=35))
    frontend = Frontend(SMALL, SPEECH_COMMANDS)
    clips = [torch.from_numpy(soundfile.read(words / word / "a.wav", dtype="float32")[0]) for word in WORDS]
    with torch.no_grad():
        tokens = model.forward_features(frontend(clips))  # (35, n, 64)
        features = model.head.norm((tokens[:, 0] + tokens[:, 1]) / 2)  # (35, 64)
        wanted = 10 * torch.eye(35)[:, [WORDS.index(word) for word in SHUFFLED]]
        solved = torch.linalg.lstsq(features.double(), wanted.double(), driver="gelsd").solution
        model.head.linear.weight.copy_(solved.T)
        model.head.linear.bias.zero_()
    return model.state_dict()


@pytest.fixture
def original(tmp_path: Path, knows_all: dict[str, Tensor]) -> Path:
    torch.save(original_names(knows_all), tmp_path / "ast.pth")
    return tmp_path / "ast.pth"


@pytest.fixture
def folder(tmp_path: Path, knows_all: dict[str, Tensor]) -> Path:
    (tmp_path / "hf").mkdir()
    save_file(huggingface_names(knows_all), tmp_path / "hf" / "model.safetensors")
    config = huggingface_config(SMALL, id2label={str(i): word for i, word in enumerate(SHUFFLED)})
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    return tmp_path / "hf"


def evaluated(model: Path, words: Path, *more: object) -> dict:
    settings = ("--set", f"data.root={words}", "--set", "run.workers=0", "--device", "cpu", "--json")
    return json.loads(run("evaluate", model, "speech_commands", *settings, *more))


def test_a_permutation_of_the_datas_words_is_matched_by_name(folder: Path, words: Path) -> None:
    found = evaluated(folder, words)
    assert found["metrics"]["unmerged"]["accuracy"] == 1
    assert [SHUFFLED[column] for column in found["columns"]] == list(WORDS)
    settings = ("--set", f"data.root={words}", "--set", "run.workers=0", "--device", "cpu")
    assert "classes matched by name, in another order" in run("evaluate", folder, "speech_commands", *settings)


def test_a_model_without_names_is_refused_and_scored_as_stated(original: Path, words: Path, tmp_path: Path) -> None:
    settings = ("--set", f"data.root={words}", "--set", "run.workers=0", "--device", "cpu")
    said = run("evaluate", original, "speech_commands", *settings, code=1)
    assert said.startswith(
        f"fastast: {original}: nothing says which classes its 35 outputs are; name them with --labels"
    )
    assert said.count("\n") == 1
    (tmp_path / "names.txt").write_text("\n".join(SHUFFLED))
    named = evaluated(original, words, "--labels", tmp_path / "names.txt")
    assert named["metrics"]["unmerged"]["accuracy"] == 1
    wrong = evaluated(original, words, "--labels", "data")  # what is stated is believed
    assert wrong["metrics"]["unmerged"]["accuracy"] < 0.2
    assert wrong["columns"] is None


def test_names_that_transformers_fills_in_are_none(folder: Path, words: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(35)}
    (folder / "config.json").write_text(json.dumps(config))
    settings = ("--set", f"data.root={words}", "--set", "run.workers=0", "--device", "cpu")
    said = run("evaluate", folder, "speech_commands", *settings, code=1)
    assert "nothing says which classes its 35 outputs are" in said


@pytest.mark.parametrize(("kind", "expected"), [("single_label", (0.731, 0.269, 0.0)), (None, (0.993, 0.982, 0.0))])
def test_a_model_trained_with_cross_entropy_predicts_a_softmax(
    tmp_path: Path, kind: str | None, expected: tuple[float, ...]
) -> None:
    folder = huggingface_folder(tmp_path / "hf", problem_type=kind and f"{kind}_classification")
    model = small_model()
    with torch.no_grad():
        model.head.linear.weight.zero_()
        model.head.linear.bias.copy_(torch.tensor([5.0, 4.0, -9.0]))
    save_file(huggingface_names(model.state_dict()), folder / "model.safetensors")
    preprocessor = {"mean": -4.0, "std": 4.0}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    quiet = np.full(16_000, 1e-3, np.float32)  # digital silence would give a warning
    soundfile.write(tmp_path / "a.wav", quiet, 16_000)
    found = json.loads(run("predict", tmp_path / "a.wav", "-m", folder, "--json"))
    assert [label["score"] for label in found["labels"]] == pytest.approx(expected, abs=5e-4)
    assert found["activation"] == ("softmax" if kind else "sigmoid")
    asked = json.loads(run("predict", tmp_path / "a.wav", "-m", folder, "--json", "--activation", "softmax"))
    assert [label["score"] for label in asked["labels"]] == pytest.approx((0.731, 0.269, 0.0), abs=5e-4)


def test_a_task_that_is_no_classification_is_refused(tmp_path: Path) -> None:
    folder = huggingface_folder(tmp_path / "hf", problem_type="regression")
    said = run("predict", tmp_path / "a.wav", "-m", folder, code=1)
    assert "problem_type is 'regression'; FastAST supports only classification: single_label_classification" in said


def test_what_cross_entropy_trained_says_so_and_is_scored_so(recipe_file: Path, tmp_path: Path) -> None:
    settings = ("-s", "steps=3", "-s", "run.keep_scores=true")
    for loss, activation in (("ce", "softmax"), ("bce", "sigmoid")):
        out = tmp_path / loss
        run("train", recipe_file, "--out", out, "--device", "cpu", "-q", "-s", f"loss={loss}", *settings)
        result = json.loads((out / "result.json").read_text())
        assert result["activation"] == activation
        # The loss is not given here: it comes from the model's file, not from the recipe.
        found = json.loads(run("evaluate", out / "model.safetensors", recipe_file, "--device", "cpu", "--json"))
        assert found["activation"] == activation
        assert found["metrics"] == result["test"]
        assert found["ids_sha256"] == result["test_ids_sha256"]
