"""`cnn_small_soundscapes`: the CNN that comes with FastAST is the one of its log, and hears what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from fastast.checkpoints import load_checkpoint
from fastast.cli import app
from fastast.teachers import load_teacher
from fastast.teachers.files import read_teacher_header
from fastast.training.recipe.file import load_recipe
from fastast.zoo import CNNS, EMBEDDED

NAME = "cnn_small_soundscapes"
EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"
NOTES = json.loads(CNNS[NAME].with_suffix(".training.json").read_text(encoding="utf-8"))


def test_it_is_the_network_of_its_recipe_on_the_classes_of_the_transformers() -> None:
    header, recipe = read_teacher_header(CNNS[NAME]), load_recipe("soundscapes_cnn")
    assert header is not None
    assert header["training"]["identity"] == NOTES["identity"] == recipe.identity
    assert header["training"]["step"] == NOTES["best_step"] <= NOTES["steps"] == recipe.steps
    teacher, ast = load_teacher(NAME), load_checkpoint(EMBEDDED["ast_tiny_soundscapes"])
    assert (teacher.name, teacher.labels, teacher.num_frames) == (
        recipe.model.name,
        ast.labels,
        ast.geometry.num_frames,
    )
    assert teacher.normalisation == ast.normalisation
    assert teacher.loss == "bce"
    with safe_open(CNNS[NAME], framework="pt") as file:
        kept = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118 - not a dict
    assert kept == {torch.float16, torch.int64}
    assert CNNS[NAME].stat().st_size < 12e6


def test_it_hears_the_example_and_is_listed() -> None:
    done = CliRunner().invoke(app, ["predict", str(EXAMPLE), "--model", NAME, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"][0]["label"] in ("Water", "Bird song")
    assert NAME in CliRunner().invoke(app, ["info"]).stdout


@pytest.mark.slow
def test_its_score_on_validation_clips_is_that_of_the_log() -> None:
    done = CliRunner().invoke(app, ["evaluate", NAME, "soundscapes_cnn", "--split", "val", "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["metrics"].values()
    assert found["mAP"] == pytest.approx(NOTES["validation"]["mAP"], abs=0.003)
