"""Whether published trainings are those of a study's file as it is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.study import RUNS
from bench.study.study_file import Study
from bench.study.trainings import StudyError, recipe, run_folder
from fastast.training.folder import RECIPE, RESULT
from fastast.training.recipe import first_difference


def refuse_other_recipes(study: Study, published: Path) -> None:
    """Raise StudyError for a published training of another recipe: a table would call it by the name of this one.

    Weights of other arms that a training began with or learned from may have lain in any folder.
    """
    for arm, seed in study.trainings():
        folder = run_folder(published, study, arm.name, seed)
        if not (folder / RESULT).is_file():
            continue
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))["question"]
        mine, theirs = (_anywhere(one, study) for one in (recipe(study, arm, seed, RUNS).question(), found))
        if difference := first_difference(mine, theirs):
            raise StudyError(
                f"{folder} was trained by another recipe than arm {arm.name!r} of study {study.name} has: {difference}"
                "; move it away, or give the arm another name"
            )


def _anywhere(part: Any, study: Study) -> Any:
    """Return a part of a question with paths into the study's runs as from there on."""
    if isinstance(part, dict):
        return {key: _anywhere(value, study) for key, value in part.items()}
    if isinstance(part, str) and f"/{study.name}/" in part:
        return part[part.rindex(f"/{study.name}/") :]
    return part
