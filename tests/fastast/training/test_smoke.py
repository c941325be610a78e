"""The smoke recipe learns on real recordings, and students follow their teachers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastast.data.soundscapes.pool import pool_path
from fastast.frontend import Normalisation
from fastast.teachers import create_teacher, load_teacher, save_teacher
from fastast.training.evaluation.command import evaluate_command
from fastast.training.loop import train
from fastast.training.recipe.file import load_recipe
from fastast.training.run_folder.logging import read_log
from tests.fastast.training.conftest import CATEGORIES

real = pytest.mark.skipif(not pool_path().exists(), reason="the recordings come with the repository only")

MARGIN = 0.1
"""How far above chance the smoke recipe's mAP must be on its test clips."""


def losses(folder: Path, name: str = "loss") -> list[float]:
    return [event[name] for event in read_log(folder) if event["event"] == "train"]


@real
@pytest.mark.slow
def test_the_smoke_recipe_learns(tmp_path: Path) -> None:
    result = train(load_recipe("smoke"), tmp_path / "run", device="cpu", quiet=True)
    for schedule in ("constant:0", "constant:8"):
        measured = result["test"][schedule]
        assert measured["mAP"] > measured["chance"] + MARGIN, schedule
    found = losses(tmp_path / "run")
    assert sum(found[-3:]) / 3 < 0.75 * found[0]
    # The command measures the same for the model's file as the run did for its weights.
    settings = ()
    text = evaluate_command(
        str(tmp_path / "run" / "model.safetensors"), "smoke", settings, ("constant:8",), split="test", device="cpu",
        as_json=True,
    )  # fmt: skip
    assert json.loads(text)["metrics"]["constant:8"]["mAP"] == pytest.approx(result["test"]["constant:8"]["mAP"])


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["a CNN teaches an AST", "an AST teaches a CNN"])
def test_a_distilled_run_follows_its_teacher(recipe_file: Path, tmp_path: Path, direction: str) -> None:
    """The teacher gives the same answer to every clip, and its student must learn it in spite of the labels."""
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 1, "num_frames": 32, "fstride": 16, "tstride": 16}
    cnn = direction.startswith("a CNN")
    name, options = ("efficientnet_b0", {}) if cnn else ("ast_tiny", shape)
    teacher = create_teacher(name, 4, normalisation=Normalisation(mean=-6.0, std=5.0), **options)
    last = [m for m in teacher.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 4][-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([3.0, -3.0, 3.0, -3.0])
    path = save_teacher(tmp_path / "teacher.safetensors", teacher.eval(), labels=CATEGORIES)
    settings = [f"distillation={{teacher='{path.as_posix()}', label_weight=0.02}}", "run.evaluate_every=1000"]
    if cnn:
        settings += ["steps=40", "optimiser.lr=1e-2", "reduction.r=[0, 3]"]
    else:
        settings += ["steps=12", "model.name=efficientnet_b0", "model.options={num_frames=32}"]
    train(load_recipe(str(recipe_file), settings), tmp_path / "run", device="cpu", quiet=True)
    said = losses(tmp_path / "run", "teacher_loss")
    assert said[-1] < 0.5 * said[0]
    student = load_teacher(tmp_path / "run" / "model.safetensors", num_classes=4)
    assert student.labels == ("dog", "rain", "clock_tick", "siren")


@real
def test_a_teacher_with_other_classes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = ["distillation.teacher=ast_tiny_soundscapes"]  # 64 classes; the smoke recipe has 6
    with pytest.raises(ValueError, match=r"its 64 classes are not the 6 of the data: .*; train a teacher on them"):
        train(load_recipe("smoke", settings), tmp_path / "run", device="cpu", quiet=True)
    assert not (tmp_path / "run").exists()
