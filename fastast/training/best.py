"""The best weights of a run so far: their file, and whether what a run goes on from still speaks of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastast.checkpoints.own import ENTRY, TEACHER

BEST = "best.safetensors"


def step_of_best(folder: Path) -> int | None:
    """Return the step after which the best weights in the folder of a run were written; None where there are none."""
    try:
        with safe_open(folder / BEST, framework="pt") as file:
            said = file.metadata()
        step = json.loads(said.get(ENTRY) or said[TEACHER])["training"]["step"]
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        return None
    return step if isinstance(step, int) else None


def why_anew(notes: Mapping[str, Any], best_by: str, written: int | None) -> str:
    """Say why the best weights have to be chosen anew; empty where those of before stay, or there were none.

    `notes`: of the state that a run goes on from; `best_by`: what chooses now; `written`: `step_of_best`. A run that
    is killed between an evaluation and its next state leaves weights that this state knows nothing of.
    """
    if notes.get("best") is None:
        return ""
    was_by = notes.get("best_by", best_by)  # older states do not say
    if was_by != best_by:
        why = f"the best weights were chosen {was_by} so far, and are {best_by} from here on"
    elif written is None:
        why = f"the best weights so far, those after step {notes['best_step']}, are not there"
    elif written != notes["best_step"]:
        why = f"{BEST} holds the weights after step {written}, which the run has yet to take again"
    else:
        return ""
    return f"{why}: {BEST} will hold the best of what follows"
