"""The folder of a run: what may be begun, gone on with, and what must not be overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastast.training.checkpoint import PREFIX, ResumeError, State, latest, load_state
from fastast.training.recipe import Recipe, first_difference

RECIPE, RESULT = "recipe.json", "result.json"


def open_folder(folder: Path, recipe: Recipe, *, resume: bool) -> State | None:
    """Make the folder of a new run, or return the state that an old one goes on from (None: from the beginning).

    Raises ResumeError where the folder holds something and `resume` is not asked for, or holds the run of another
    recipe; then nothing is written.
    """
    if folder.exists() and not folder.is_dir():
        raise ResumeError(f"{folder}: a file; name a folder for the run with --out")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    held = [name for name in held if not (name.startswith(".") and name.endswith(".tmp"))]
    if held and not resume:
        raise ResumeError(
            f"{folder}: not empty (it holds {', '.join(held[:4])}); nothing is overwritten. Go on with that run by "
            "--resume, or name another folder with --out"
        )
    if held:
        _check_same(folder, recipe)
        path = latest(folder)
        return None if path is None else load_state(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, {"identity": recipe.identity, "question": recipe.question()})
    return None


def _check_same(folder: Path, recipe: Recipe) -> None:
    path = folder / RECIPE
    if not path.is_file():
        raise ResumeError(
            f"{folder}: no {RECIPE} is there, so this is no run of FastAST; name another folder with --out"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        identity, question = content["identity"], content["question"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"{path}: damaged ({error}); start anew in another folder with --out") from error
    if identity != recipe.identity:
        difference = first_difference(recipe.question(), question) or "FastAST's defaults have changed"
        raise ResumeError(
            f"{folder}: this is the run of another recipe: {difference}. Go on with the recipe it was begun with, or "
            "begin a new run in another folder with --out"
        )


def write_json(path: Path, content: Any) -> None:
    """Write JSON beside the target, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


__all__ = ["PREFIX", "RECIPE", "RESULT", "open_folder", "write_json"]
