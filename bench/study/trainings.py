"""Run the trainings of a study: one for every arm and seed, each in its own process and folder.

A finished training is not repeated, and an interrupted one resumes, both thanks to `--resume`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.study.recipes import (
    StudyError,
    answers,
    averaged,
    other_recipe,
    recipe,
    run_folder,
    settings,
    teacher,
    teacher_of,
    weights,
)
from bench.study.study_file import Study, StudyArm
from fastast.names import hub_hint, unknown_name
from fastast.training.recipe.recipe import first_difference
from fastast.training.run_folder.folder import RECIPE, RESULT
from fastast.zoo import TRAINED


def commands(study: Study, arm: StudyArm, seed: int, out: Path) -> Iterator[list[str]]:
    """Return the commands of a training: make the average that it starts from, the ensemble of several teachers and the
    file of the teacher's answers, the latter two unless they exist, then train."""
    chosen = settings(study, arm, seed, out)
    options = [part for text in chosen for part in ("-s", text)]
    fastast = [sys.executable, "-m", "fastast.cli"]
    parts = study.parts(arm, seed)
    if len(parts) > 1:
        models = [weights(study, name, one, out) for name, one, _ in parts]
        shares = [text for *_, share in parts for text in ("--share", str(share))]
        yield [*fastast, "average", *models, *shares, "--out", str(averaged(study, arm, seed, out))]
    if len(arm.teachers) > 1 and not (together := Path(teacher(study, arm, out))).is_file():
        members = [teacher_of(study, name, out) for name in arm.teachers]
        yield [*fastast, "ensemble", *members, "--out", str(together)]
    stored = answers(study, arm, seed, out)
    if arm.teacher and arm.stored and not stored.is_file():
        # Store all classes, so that answers are complete.
        classes = len(recipe(study, arm, seed, out).data.options.split("train").classes)
        asking = [part for text in chosen if not text.startswith("distillation.targets") for part in ("-s", text)]
        if steps := _longest(study, seed, out, stored):
            asking += ["-s", f"steps={steps}"]
        stored.parent.mkdir(parents=True, exist_ok=True)
        yield [*fastast, "record", study.recipe, "--out", str(stored), "--k", str(classes), *asking]
    folder = run_folder(out, study, arm.name, seed)
    yield [*fastast, "train", study.recipe, *options, "--out", str(folder), "--resume", "--quiet"]


def _longest(study: Study, seed: int, out: Path, stored: Path) -> int:
    """Return the steps of the longest training that learns from a file of answers; 0 if recipes set epochs."""
    sharing = [
        arm
        for arm in study.arms
        if arm.teacher and arm.stored and seed in study.seeds_of(arm) and answers(study, arm, seed, out) == stored
    ]
    return max(recipe(study, arm, seed, out).steps for arm in sharing)


def is_trained(study: Study, arm: StudyArm, seed: int, out: Path) -> bool:
    """Return whether a training is finished and scored under every schedule of its arm.

    Raises StudyError if its folder has a finished training by another recipe, or one that was not scored so.
    """
    folder = run_folder(out, study, arm.name, seed)
    if not (folder / RESULT).is_file():
        return False
    wanted = recipe(study, arm, seed, out)
    found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    if found["identity"] != wanted.identity:
        difference = first_difference(wanted.question(), found["question"]) or "FastAST's defaults have changed"
        raise StudyError(f"{folder} was trained by another recipe: {difference}; move it away to train it again")
    if unscored := _unscored(folder, study, arm):
        raise StudyError(f"{folder} was not scored under {', '.join(unscored)}; move it away to score it again")
    return True


def is_published(study: Study, arm: StudyArm, seed: int, published: Path) -> bool:
    """Return whether a training is published, by its arm's recipe and scored under every schedule."""
    folder = run_folder(published, study, arm.name, seed)
    if not (folder / RESULT).is_file():
        return False
    return not other_recipe(study, arm, seed, folder) and not _unscored(folder, study, arm)


def _unscored(folder: Path, study: Study, arm: StudyArm) -> list[str]:
    scored = json.loads((folder / RESULT).read_text(encoding="utf-8"))["test"]
    return [schedule for schedule in study.schedules_of(arm) if schedule not in scored]


def missing(study: Study, arms: tuple[str, ...], out: Path, published: Path) -> list[tuple[StudyArm, int]]:
    """Return what is neither trained in `out` nor published, in order, each after the arms whose weights it needs.

    All recipes are read, so that errors are reported before anything runs. Raises StudyError for weights that an arm
    needs and that do not exist, and for an arm that merges as its model cannot.
    """
    ordered: dict[tuple[str, int], StudyArm] = {}

    def add(arm: StudyArm, seed: int) -> None:
        if (arm.name, seed) in ordered or study.is_embedded(arm, seed) or is_trained(study, arm, seed, out):
            return
        _check_given(study, arm, seed, out)
        for name in arm.teachers:
            if name in study.names:
                add(study.arm(name), study.seeds_of(study.arm(name))[0])
        for name, one, _ in study.parts(arm, seed):
            if one is not None:
                add(study.arm(name), one)
        ordered[arm.name, seed] = arm

    for arm, seed in study.trainings():
        recipe(study, arm, seed, out)
    for arm, seed in study.trainings(arms):
        if not is_published(study, arm, seed, published):
            add(arm, seed)
    left = [(arm, seed) for (_, seed), arm in ordered.items()]
    _check_reductions(study, left, out)
    return left


def _check_given(study: Study, arm: StudyArm, seed: int, out: Path) -> None:
    """Raise StudyError where weights that an arm is given are not there: its turn may be hours away."""
    asked, earlier = recipe(study, arm, seed, out), study.names[: study.names.index(arm.name)]
    given = [("teacher", name, earlier) for name in arm.teachers if name not in study.names]
    if asked.distillation is not None and not arm.teacher:
        given.append(("distillation.teacher", asked.distillation.teacher, []))
    if not arm.average:
        given.append(("model.checkpoint", asked.model.checkpoint, []))
    for key, name, arms in given:
        if name and name not in TRAINED and not Path(name).exists():
            unknown = unknown_name("model", name, (*arms, *TRAINED))
            raise StudyError(f"arm {arm.name!r}: {key}: no such file, and {unknown}{hub_hint(name)}")


def run_study(
    study: Study, out: Path, published: Path, *, arms: tuple[str, ...] = (), say: Callable[[str], None]
) -> None:
    """Train what is neither trained nor published yet.

    Raises StudyError before anything is trained as `missing` does, and with a training's own message if it fails;
    earlier ones are kept, and the next call resumes.
    """
    todo = missing(study, arms, out, published)
    for place, (arm, seed) in enumerate(todo, 1):
        name = f"{place} of {len(todo)}: {arm.name}, seed {seed}"
        say(name)
        for command in commands(study, arm, seed, out):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise StudyError(f"{name}: {(done.stderr or done.stdout).strip()[-2000:]}")


def _check_reductions(study: Study, todo: Sequence[tuple[StudyArm, int]], out: Path) -> None:
    """Raise StudyError for an arm that merges as its model cannot; those that start from a checkpoint are skipped."""
    from fastast.training.recipe.reductions import check_evaluation, training_reductions
    from fastast.training.weights.build import build_recipe_model

    for name, seed in {arm.name: seed for arm, seed in reversed(todo)}.items():
        asked = recipe(study, study.arm(name), seed, out)
        if asked.model.checkpoint or not (asked.reduction or asked.run.evaluate):
            continue
        try:
            classes = tuple(asked.data.options.split("train").classes)
            normalisation = asked.normalisation.applied
            model = build_recipe_model(asked.model, classes, normalisation)
            training_reductions(asked, model)
            check_evaluation(asked, model)
        except ValueError as error:
            raise StudyError(f"arm {name!r}: {error}") from error
