"""The best weights of a run so far: their file, and whether it matches the state that the run resumes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastast.checkpoints.own import ENTRY, TEACHER

BEST = "best.safetensors"


def step_of_best(folder: Path) -> int | None:
    """Return the step after which the best weights in a run's folder were taken; None without a readable file."""
    try:
        with safe_open(folder / BEST, framework="pt") as file:
            said = file.metadata()
        step = json.loads(said.get(ENTRY) or said[TEACHER])["training"]["step"]
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        return None
    return step if isinstance(step, int) else None


def why_anew(notes: Mapping[str, Any], best_by: str, written: int | None) -> str:
    """Return why the best weights must be chosen anew; empty if the previous ones remain valid or there were none.

    `notes`: notes of the state that the run resumes from; `best_by`: how the best weights are chosen now (`chosen_by`);
    `written`: what `step_of_best` returned. A run that is killed between an evaluation and its next checkpoint leaves a
    file of weights that its last state does not know about.
    """
    if notes.get("best") is None:
        return ""
    was_by = notes.get("best_by", best_by)  # older states do not record it
    if was_by != best_by:
        why = f"the best weights were chosen {was_by} until now, and are chosen {best_by} from here on"
    elif written is None:
        why = f"the best weights so far, those after step {notes['best_step']}, are missing"
    elif written != notes["best_step"]:
        why = f"{BEST} holds the weights after step {written}, which this run has yet to repeat"
    else:
        return ""
    return f"{why}: {BEST} will hold the best weights from here on"
