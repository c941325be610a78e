"""Publish trainings: copy recipe, result and log from the folders of runs, and write the replicates of mAP.

Weights, optimiser states and scores stay where they are; a training is published completely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bench.study.recipes import StudyError, run_folder
from bench.study.statistics.recordings import recording_shares
from bench.study.statistics.scores import REPLICATES, write_replicates
from bench.study.study_file import Study
from fastast.system.writing import write_whole
from fastast.training.run_folder.folder import RECIPE, RESULT, SCORES

KEPT = (RECIPE, "log.jsonl", RESULT)


def publish_trainings(study: Study, source: Path, target: Path, *, say: Callable[[str], None]) -> int:
    """Copy every finished training that `target` lacks, or has incomplete or with another result; return how many.

    Raises StudyError if `target` has a training with another recipe under the same name.
    """
    count = 0
    for arm, seed in study.trainings():
        mine, theirs = (run_folder(root, study, arm.name, seed) for root in (source, target))
        if not (mine / RESULT).is_file():
            continue
        _refuse_another(mine / RECIPE, theirs / RECIPE)
        whole = (theirs / RESULT).is_file() and (theirs / REPLICATES).is_file()
        if whole and (theirs / RESULT).read_bytes() == (mine / RESULT).read_bytes():
            continue
        theirs.mkdir(parents=True, exist_ok=True)
        data = json.loads((mine / RECIPE).read_text(encoding="utf-8"))["question"]["data"]
        write_replicates(mine / SCORES, theirs / REPLICATES, recording_shares(data))
        for name in KEPT:  # the result last: it makes a training count as published
            write_whole(theirs / name, (mine / name).read_bytes())
        say(str(theirs))
        count += 1
    return count


def _refuse_another(mine: Path, theirs: Path) -> None:
    if theirs.is_file() and _identity(theirs) != _identity(mine):
        raise StudyError(f"{theirs} has a recipe other than that of {mine}; move it away, or give the arm another name")


def _identity(recipe: Path) -> str:
    return str(json.loads(recipe.read_text(encoding="utf-8"))["identity"])
