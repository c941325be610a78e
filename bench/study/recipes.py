"""The recipe of every training of a study, and checks that published trainings followed it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.study import RUNS
from bench.study.study_file import Study, StudyArm
from fastast.training.recipe.file import load_recipe
from fastast.training.recipe.recipe import Recipe, first_difference
from fastast.training.run_folder.folder import MODEL, RECIPE, RESULT
from fastast.zoo import EMBEDDED


class StudyError(ValueError):
    """A study cannot continue, or has nothing to report."""


def run_folder(out: Path, study: Study, arm: str, seed: int) -> Path:
    """Return the folder of a training."""
    return out / study.name / arm / f"seed-{seed}"


def settings(study: Study, arm: StudyArm, seed: int, out: Path) -> list[str]:
    """Return everything that an arm and a seed set in the recipe, as `key=value`.

    Paths under the working folder are relative to it, so that the recipe does not depend on how `--out` is written.
    """
    out = Path(os.path.relpath(out)) if out.absolute().is_relative_to(Path.cwd()) else out
    chosen = [f"seed={seed}", "run.keep_scores=true", *study.set, *arm.set]
    if arm.average:
        chosen.append(_beginning(study, arm, seed, out))
    if schedules := study.schedules_of(arm):
        chosen.append(f"run.evaluate={json.dumps(schedules)}")
    if arm.teacher:
        chosen.append(f"distillation.teacher={teacher(study, arm, out)}")
        if arm.stored:
            chosen.append(f"distillation.targets={answers(study, arm, seed, out)}")
    if schedules and load_recipe(study.recipe, chosen).reduction is None:  # else it is evaluated as it trains
        chosen.append(f"run.evaluate_excess={study.excess}")
    return chosen


def teacher(study: Study, arm: StudyArm, out: Path) -> str:
    """Return the teacher: weights of another arm's first seed, an embedded model, or the file of an ensemble."""
    if len(arm.teachers) > 1:
        return str(out / study.name / "ensembles" / f"{'+'.join(arm.teachers)}.safetensors")
    return teacher_of(study, arm.teachers[0], out)


def teacher_of(study: Study, name: str, out: Path) -> str:
    """Return one of an arm's teachers by name: the weights of another arm's first seed, or an embedded model."""
    return weights(study, name, study.seeds_of(study.arm(name))[0], out) if name in study.names else name


def weights(study: Study, name: str, seed: int | None, out: Path) -> str:
    """Return the weights of an arm's seed: a file, or the name of an embedded model.

    Raises StudyError if the embedded model in place of the training has another recipe.
    """
    if seed is None:
        return name
    arm = study.arm(name)
    if not study.is_embedded(arm, seed):
        return str(run_folder(out, study, name, seed) / MODEL)
    notes = json.loads(EMBEDDED[arm.embedded].with_suffix(".training.json").read_text(encoding="utf-8"))
    if notes.get("identity") != recipe(study, arm, seed, out).identity:
        raise StudyError(
            f"study {study.name}: arm {name!r} with seed {seed} has a recipe other than that of {arm.embedded}; "
            "remove embedded from the arm to train it"
        )
    return arm.embedded


def answers(study: Study, arm: StudyArm, seed: int, out: Path) -> Path:
    """Return the file of the teacher's answers, which all arms share that need them for the same clips."""
    return out / study.name / "answers" / f"{'+'.join(arm.teachers)}-seed-{seed}.safetensors"


def averaged(study: Study, arm: StudyArm, seed: int, out: Path) -> Path:
    """Return the file of averaged weights that an arm starts from."""
    return out / study.name / "averages" / f"{arm.name}-seed-{seed}.safetensors"


def _beginning(study: Study, arm: StudyArm, seed: int, out: Path) -> str:
    """Return the setting by which an arm starts from its average, or from the one model that it names."""
    parts = study.parts(arm, seed)
    if len(parts) > 1:
        return f"model.checkpoint={averaged(study, arm, seed, out)}"
    name = weights(study, *parts[0][:2], out)
    return f"model.name={name}" if name in EMBEDDED else f"model.checkpoint={name}"


def recipe(study: Study, arm: StudyArm, seed: int, out: Path) -> Recipe:
    """Return the recipe of a training. Raises RecipeError if an arm sets something that does not exist."""
    return load_recipe(study.recipe, settings(study, arm, seed, out))


def other_recipe(study: Study, arm: StudyArm, seed: int, folder: Path) -> str:
    """Return the first difference of the recipe of a training in `folder` from its arm's; empty if there is none.

    Weights of other arms that a training started from or learned from may have been in any folder.
    """
    found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))["question"]
    mine, theirs = (_anywhere(one, study) for one in (recipe(study, arm, seed, RUNS).question(), found))
    return first_difference(mine, theirs)


def refuse_other_recipes(study: Study, published: Path) -> None:
    """Raise StudyError for a published training by another recipe, which tables would show under the arm's name."""
    for arm, seed in study.trainings():
        folder = run_folder(published, study, arm.name, seed)
        if (folder / RESULT).is_file() and (difference := other_recipe(study, arm, seed, folder)):
            raise StudyError(
                f"{folder} was trained by a recipe other than that of arm {arm.name!r} in {study.name}: {difference}"
                "; move it away, or give the arm another name"
            )


def _anywhere(part: Any, study: Study) -> Any:
    """Return a part of a question with paths into the study's runs cut to begin at the study's folder."""
    if isinstance(part, dict):
        return {key: _anywhere(value, study) for key, value in part.items()}
    if isinstance(part, str) and f"/{study.name}/" in part:
        return part[part.rindex(f"/{study.name}/") :]
    return part
