"""The rows of a study: every arm under every schedule, over its seeds, held against another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.study.difference import difference
from bench.study.recipes import StudyError, run_folder
from bench.study.scores import Replicates, read_replicates
from bench.study.speeds import Speeds
from bench.study.study_file import Study, StudyArm
from fastast.schedule import Constant
from fastast.training.folder import RECIPE, RESULT

COLUMNS: dict[str, str] = {
    "arm": "name of the arm",
    "label": "what it is called",
    "group": "table that it stands in",
    "schedule": "merging when tested; unmerged for a model without tokens",
    "seeds": "trainings",
    "mAP": "mean over seeds",
    "mAP_sd": "standard deviation over seeds",
    "mAP_low": "lowest seed",
    "mAP_high": "highest seed",
    "against": "label of the arm that it is held against",
    "against_schedule": "and its schedule",
    "against_mAP": "its mean over seeds",
    "delta": "mAP less that of the arm it is held against, mean over seeds less mean over seeds",
    "delta_low": "lower end of its 95 % interval, over seeds and clips, and recordings where they are known",
    "delta_high": "upper end",
    "delta_seeds": "trainings of the arm in it",
    "against_seeds": "trainings of the arm it is held against",
    "recordings": "whether that interval knows of the recordings that clips are mixed from",
    "AUC": "mean over seeds",
    "logged_seconds_per_1000": "training time of 1,000 clips, s, median over seeds, of the logs: whatever else ran",
    "peak_memory_mib": "most memory of a training, MiB; none of weights that were not trained",
    "clips": "test clips",
    "steps": "of a training",
    "speedup": "throughput over the unmerged model's",
    "speedup_low": "lower end of its 95 % interval",
    "speedup_high": "upper end",
    "clips_per_second": "the unmerged model's throughput times that speed-up",
    "step_speedup": "of a step of training over one without merging, on the mean over the schedules that steps draw",
    "train_seconds_per_1000": "seconds of the steps for 1,000 clips, likewise, no teacher: the unmerged one's over it",
}

NOT_MEASURED = Speeds()
CONTRAST, CLAIM = "contrast", "claim"
"""Groups of the contrasts of a study, and of its claim."""
Runs = Mapping[int, Mapping[str, Any]]
"""Trainings of an arm by seed."""


def frame(study: Study, results: Path, speeds: Speeds, step_speeds: Speeds = NOT_MEASURED) -> pd.DataFrame:
    """Return one row for every arm and schedule that has a published training, in the order of the study.

    `speeds`: of the forward; `step_speeds`: of a step of training, for arms that merge in training. Raises StudyError
    where nothing is published, the reference is not, or two trainings were tested on other clips.
    """
    found = {arm.name: _trainings(study, arm, results) for arm in study.arms}
    _refuse_other_clips(found)
    if not found[study.reference]:
        raise StudyError(
            f"study {study.name}: {results / study.name} has no training of the reference {study.reference!r}; "
            f"run python -m bench study run {study.name} and publish it"
        )
    rows = []
    for arm, base_arm, fixed in _compared(study):
        for schedule in study.tested_under(arm):
            base_schedule = fixed or schedule
            runs, base = _scored(found[arm.name], schedule), _scored(found[base_arm.name], base_schedule)
            if not runs or (arm.group in (CONTRAST, CLAIM) and not base):
                continue
            itself = (base_arm.name, base_schedule) == (arm.name, schedule)
            base = {} if itself else base
            rows.append(
                _row(arm, schedule, runs)
                | {"against": "" if itself else base_arm.label, "against_schedule": "" if itself else base_schedule}
                | _difference(*_paired(study, arm, runs, base_arm, base), schedule, base_schedule)
                | {"delta_seeds": len(runs) if base else 0, "against_seeds": len(base)}
                | _speed(schedule, speeds)
                | _step_speed(arm, runs, step_speeds if study.schedules_of(arm) else NOT_MEASURED)
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(study: Study) -> list[tuple[StudyArm, StudyArm, str]]:
    """Return the arms, the contrasts and the claim, the latter as arms of groups of their own.

    Each with the arm that it is held against and that one's schedule; empty: the same as its own.
    """

    def copy(name: str, **update: str) -> StudyArm:
        return study.arm(name).model_copy(update=update)

    def first(name: str) -> str:
        return study.tested_under(study.arm(name))[0]

    arms = [
        (arm, study.arm(arm.against or study.reference), "" if arm.against else first(study.reference))
        for arm in study.arms
    ]
    contrasts = [
        (copy(pair.arm, label=pair.label, group=CONTRAST), study.arm(pair.against), "") for pair in study.contrasts
    ]
    claim = study.claim
    claims = (
        [(copy(name, group=CLAIM), study.arm(claim.against), first(claim.against)) for name in claim.arms]
        if claim
        else []
    )
    return [*arms, *claims, *contrasts]


def _trainings(study: Study, arm: StudyArm, results: Path) -> dict[int, dict[str, Any]]:
    runs = {}
    for seed in study.seeds_of(arm):
        folder = run_folder(results, study, arm.name, seed)
        if (folder / RESULT).is_file():
            runs[seed] = {
                "result": json.loads((folder / RESULT).read_text(encoding="utf-8")),
                "recipe": json.loads((folder / RECIPE).read_text(encoding="utf-8"))["question"],
                "replicates": read_replicates(folder),
                "folder": folder,
            }
    return runs


def _refuse_other_clips(found: Mapping[str, Runs]) -> None:
    seen: dict[tuple[int, str], Path] = {}
    for runs in found.values():
        for run in runs.values():
            replicates: Replicates = run["replicates"]
            seen.setdefault((replicates.clips, replicates.labels), run["folder"])
    if len(seen) > 1:
        first, second = list(seen.values())[:2]
        raise StudyError(f"{first} and {second} were tested on other clips and cannot be compared; move one away")


def _scored(runs: Runs, schedule: str) -> Runs:
    return {seed: run for seed, run in runs.items() if schedule in run["result"]["test"]}


def _paired(study: Study, arm: StudyArm, runs: Runs, base_arm: StudyArm, base: Runs) -> tuple[Runs, Runs]:
    """Return the trainings of both sides by seed; untrained weights of one seed stand beside every one of the other."""

    def stands(one: StudyArm) -> bool:
        return one.untrained and len(study.seeds_of(one)) == 1

    if base and stands(base_arm):
        return runs, dict.fromkeys(runs, *base.values())
    if base and stands(arm):
        return dict.fromkeys(base, *runs.values()), base
    return runs, base


def _row(arm: StudyArm, schedule: str, runs: Runs) -> dict[str, Any]:
    results = [run["result"] for run in runs.values()]
    values = _mean_average_precisions(runs, schedule)
    seconds = [
        r["seconds"] / (r["steps"] * run["recipe"]["batch_size"]) * 1000
        for r, run in zip(results, runs.values(), strict=True)
    ]
    return {
        "arm": arm.name,
        "label": arm.label,
        "group": arm.group,
        "schedule": schedule,
        "seeds": len(runs),
        "mAP": values.mean(),
        "mAP_sd": values.std(ddof=1) if len(values) > 1 else math.nan,
        "mAP_low": values.min(),
        "mAP_high": values.max(),
        "AUC": np.mean([result["test"][schedule]["AUC"] for result in results]),
        "logged_seconds_per_1000": math.nan if arm.untrained else float(np.median(seconds)),
        "peak_memory_mib": math.nan if arm.untrained else max(result.get("peak_memory_mib", 0) for result in results),
        "clips": results[0]["test_clips"],
        "steps": results[0]["steps"],
    }


def _difference(runs: Runs, base: Runs, schedule: str, base_schedule: str) -> dict[str, Any]:
    delta, theirs, known = (math.nan,) * 3, math.nan, False
    if base:
        sides = [(dict(sorted(runs.items())), schedule), (dict(sorted(base.items())), base_schedule)]
        # Older files know of no recordings: then neither side's are drawn.
        known = all(name in run["replicates"].over_recordings for side, name in sides for run in side.values())
        drawn = attrgetter("over_recordings" if known else "by_schedule")
        mine, of_base = (_mean_average_precisions(side, name) for side, name in sides)
        draws = [np.mean([drawn(run["replicates"])[name] for run in side.values()], axis=0) for side, name in sides]
        delta = difference(mine, of_base, draws[0] - draws[1], paired=runs.keys() == base.keys())
        theirs = float(of_base.mean())
    return {
        "against_mAP": theirs,
        **dict(zip(("delta", "delta_low", "delta_high"), delta, strict=True)),
        "recordings": known,
    }


def _mean_average_precisions(runs: Runs, schedule: str) -> NDArray[np.float64]:
    return np.array([run["result"]["test"][schedule]["mAP"] for run in runs.values()])  # (s,)


def _speed(schedule: str, speeds: Speeds) -> dict[str, float]:
    names = ("speedup", "speedup_low", "speedup_high")
    return dict(zip(names, speeds.ratio(schedule), strict=True)) | {"clips_per_second": 1 / speeds.seconds(schedule)}


def step_seconds(recipe: Mapping[str, Any], speeds: Speeds) -> float:
    """Return the seconds of a step for one clip: the mean over the schedules that the steps of a recipe draw."""
    reduction = recipe["reduction"] or {"r": [0], "schedule": []}
    drawn = [str(Constant(r)) for r in reduction["r"]] or reduction["schedule"]
    return float(np.mean([speeds.seconds(schedule) for schedule in drawn]))


def _step_speed(arm: StudyArm, runs: Runs, speeds: Speeds) -> dict[str, float]:
    """Return how fast the arm trains."""
    seconds = math.nan if arm.untrained else step_seconds(next(iter(runs.values()))["recipe"], speeds)
    return {"step_speedup": speeds.unmerged_seconds / seconds, "train_seconds_per_1000": 1000 * seconds}
