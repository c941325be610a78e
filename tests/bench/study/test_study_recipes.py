"""What a study draws was trained as its file says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.study.recipes import StudyError, refuse_other_recipes
from bench.study.report import study_frame, times_to_reference
from bench.study.study_file import load_study

PUBLISHED = Path(__file__).parents[3] / "results/studies"


@pytest.mark.parametrize("name", ["soundscapes_taught", "soundscapes_averaged"])
def test_what_is_published_was_trained_by_the_recipes_of_now(name: str) -> None:
    refuse_other_recipes(load_study(name), PUBLISHED)


def test_a_training_of_another_recipe_is_not_drawn_under_an_arm_s_name() -> None:
    study = load_study("soundscapes_taught")
    changed = study.arm("ast").model_copy(update={"set": ("optimiser.lr=0.5",)})
    arms = tuple(changed if arm.name == "ast" else arm for arm in study.arms)
    other = study.model_copy(update={"arms": arms})
    for ask in (study_frame, times_to_reference):
        with pytest.raises(
            StudyError, match=r"ast/seed-0 was trained by a recipe other than .* optimiser\.lr is 0\.5 here, but"
        ):
            ask(other, PUBLISHED, [])


def test_where_the_weights_of_other_arms_lay_is_no_other_recipe(tmp_path: Path) -> None:
    study = load_study("soundscapes_averaged")
    path = tmp_path / "soundscapes_averaged/half/seed-1/recipe.json"
    shutil.copytree(PUBLISHED / "soundscapes_averaged/half/seed-1", path.parent)
    found = json.loads(path.read_text())
    assert found["question"]["model"]["checkpoint"].startswith("build/studies/soundscapes_averaged/")
    for place, same in (
        ("/elsewhere/soundscapes_averaged/averages/half-seed-1", True),
        ("/elsewhere/half-seed-1", False),
    ):
        found["question"]["model"]["checkpoint"] = f"{place}.safetensors"
        path.write_text(json.dumps(found))
        if same:
            refuse_other_recipes(study, tmp_path)
        else:
            with pytest.raises(StudyError, match=r"model\.checkpoint is"):
                refuse_other_recipes(study, tmp_path)
