"""The folder of a run: start or resume a run in it, and never overwrite another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastast.checkpoints.targets import sha256_of_path
from fastast.classes import AS_DATA
from fastast.data.same_clips import identify
from fastast.data.training_set import TrainingSet
from fastast.system.locking import release_lock, take_lock
from fastast.system.writing import remove_leftovers, write_whole
from fastast.training.recipe.recipe import Recipe, first_difference
from fastast.training.run_folder.checkpoint import ResumeError, State, latest, load_state
from fastast.zoo import TRAINED

RECIPE, RESULT, LOCK = "recipe.json", "result.json", ".lock"
MODEL, SCORES = "model.safetensors", "scores.safetensors"


def open_folder(
    folder: Path, recipe: Recipe, *, resume: bool, splits: Mapping[str, TrainingSet] | None = None
) -> State | None:
    """Make the folder of a new run, or return the state that a run in it resumes from (None: from the beginning).

    `splits`: the data to train, validate and test on, by name. Raises ResumeError if the folder is not empty and
    `resume` is false, or if it holds a run of another recipe, or of other files under the same names; nothing is
    written then.
    """
    if folder.exists() and not folder.is_dir():
        raise ResumeError(f"{folder}: this is a file; name a folder for the run with --out")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    held = [name for name in held if not (name.startswith(".") and name.endswith(".tmp"))]
    if held and not resume:
        raise ResumeError(
            f"{folder}: not empty (it holds {', '.join(held[:4])}); nothing is overwritten. Resume that run with "
            "--resume, or name another folder with --out"
        )
    if held:
        _check_same(folder, recipe, named_inputs(recipe, splits or {}))
        path = latest(folder)
        return None if path is None else load_state(path)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"identity": recipe.identity, "question": recipe.question(), "inputs": named_inputs(recipe, splits or {})}
    write_json(folder / RECIPE, content)
    return None


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. Raises ResumeError if one is already training in it."""
    path = folder / LOCK
    if (descriptor := take_lock(path)) is None:
        raise ResumeError(f"{folder}: another process is training in it; wait for it, or end it")
    try:
        remove_leftovers(folder, locked=True)
        yield
    finally:
        release_lock(path, descriptor)


def named_files(recipe: Recipe) -> dict[str, Path]:
    """Return the files and folders that a recipe names besides its data, by key: weights, teacher, answers, names."""
    named = {
        "model.name": str(TRAINED.get(recipe.model.name, "")),
        "model.checkpoint": recipe.model.checkpoint,
        "model.labels": recipe.model.labels,
        "model.imagenet": recipe.model.imagenet,
        "model.options.weights": recipe.model.options.get("weights"),
    }
    if (taught := recipe.distillation) is not None:
        named |= {
            "distillation.teacher": str(TRAINED.get(taught.teacher, taught.teacher)),
            "distillation.labels": taught.labels,
            "distillation.targets": taught.targets,
        }
    return {key: Path(name) for key, name in named.items() if name and name != AS_DATA}


def named_inputs(recipe: Recipe, splits: Mapping[str, TrainingSet]) -> dict[str, Any]:
    """Return what identifies the inputs that a recipe only names: SHA-256 of its `named_files`, and hashes of its data.

    Of the audio, only a sample is hashed (`fastast.data.same_clips.identify`).
    """
    files = named_files(recipe)
    inputs: dict[str, Any] = {key: sha256_of_path(path) for key, path in files.items() if path.exists()}
    if "train" in splits:
        data = splits["train"]
        classes = hashlib.sha256(json.dumps(data.classes).encode()).hexdigest()
        inputs |= {"data.clips": len(data), "data.classes": classes}
    for name, data in splits.items():
        inputs |= {f"data.{name}_{part}": value for part, value in identify(data).items()}
    return inputs


def _check_same(folder: Path, recipe: Recipe, inputs: dict[str, Any]) -> None:
    path = folder / RECIPE
    if not path.is_file():
        raise ResumeError(
            f"{folder}: there is no {RECIPE} in it, so this is not a run of FastAST; name another folder with --out"
        )
    content = read_run_file(path, "question")
    question, before = content["question"], content.get("inputs", inputs)
    if not isinstance(question, dict) or not isinstance(before, dict):
        raise ResumeError(
            f"{path}: damaged (question and inputs must be tables); start anew in another folder with --out"
        )
    inputs = {key: value for key, value in inputs.items() if key in before}  # older runs recorded fewer
    if difference := first_difference(recipe.question(), question):  # not by hash: those of 1 and 1.0 differ
        raise ResumeError(
            f"{folder}: the run in that folder has another recipe: {difference}. Resume it with the recipe that it was "
            "started with, or start a new run in another folder with --out"
        )
    if changed := first_difference(inputs, before):
        raise ResumeError(
            f"{folder}: the run in that folder was started with other files under the same names: {changed}. Restore "
            "those, or start a new run in another folder with --out"
        )


def read_run_file(path: Path, *keys: str, advice: str = "start anew in another folder with --out") -> dict[str, Any]:
    """Read a table that `write_json` wrote. Raises ResumeError if it is damaged or lacks one of `keys`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(f"{path}: damaged ({error}); {advice}") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if not isinstance(content, dict) or missing:
        raise ResumeError(f"{path}: damaged (it lacks {', '.join(missing) or 'a table'}); {advice}")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
