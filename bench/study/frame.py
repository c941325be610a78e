"""The rows of a study: every arm under every schedule, over its seeds, compared with another arm."""

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

from bench.study.recipes import StudyError, run_folder
from bench.study.speeds import Speeds
from bench.study.statistics.difference import difference
from bench.study.statistics.scores import Replicates, read_replicates
from bench.study.study_file import Study, StudyArm
from fastast.schedule import Constant
from fastast.training.run_folder.folder import RECIPE, RESULT

COLUMNS: dict[str, str] = {
    "arm": "name of the arm",
    "label": "its name in tables and figures",
    "group": "table that shows it",
    "schedule": "merging when tested; unmerged for a model without tokens",
    "seeds": "number of trainings",
    "mAP": "mean over seeds",
    "mAP_sd": "standard deviation over seeds",
    "mAP_low": "lowest seed",
    "mAP_high": "highest seed",
    "against": "label of the arm that it is compared with",
    "against_schedule": "schedule of that arm",
    "against_mAP": "mAP of that arm, mean over seeds",
    "delta": "mAP minus that arm's, each a mean over seeds",
    "delta_low": "lower end of the difference's 95 % interval, over seeds, clips and, where known, recordings",
    "delta_high": "upper end",
    "delta_seeds": "number of the arm's trainings in the difference",
    "against_seeds": "number of the other arm's trainings in it",
    "recordings": "whether that interval includes the recordings that clips are mixed from",
    "AUC": "mean over seeds",
    "logged_seconds_per_1000": "training time of 1,000 clips in the logs, s, median over seeds, whatever else ran",
    "peak_memory_mib": "peak memory of a training, MiB; none for weights that were not trained",
    "clips": "number of test clips",
    "steps": "number of steps of a training",
    "speedup": "throughput over the unmerged model's",
    "speedup_low": "lower end of its 95 % interval",
    "speedup_high": "upper end",
    "clips_per_second": "the unmerged model's throughput times that speed-up",
    "step_speedup": "speed-up of a training step over an unmerged one, for the mean of the schedules that steps draw",
    "train_seconds_per_1000": "seconds of the steps for 1,000 clips without a teacher: the unmerged ones' over that",
}

NOT_MEASURED = Speeds()
CONTRAST, CLAIM = "contrast", "claim"
"""Groups of a study's contrasts and of its claim."""
Runs = Mapping[int, Mapping[str, Any]]
"""Trainings of an arm, by seed."""


def frame(study: Study, results: Path, speeds: Speeds, step_speeds: Speeds = NOT_MEASURED) -> pd.DataFrame:
    """Return one row for every arm and schedule that has a published training, in the order of the study.

    Contrasts and the claim have rows of their own. speeds: of the forward. step_speeds: of a training step, for arms
    with tokens. Raises StudyError if the reference is not published, or two trainings were tested on different clips.
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
    """Return the arms, the claim and the contrasts, the latter two as arms in groups of their own.

    Each comes with the arm that it is compared with and the schedule of that arm; empty: the same schedule as its own.
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
        raise StudyError(f"{first} and {second} were tested on different clips and cannot be compared; move one away")


def _scored(runs: Runs, schedule: str) -> Runs:
    return {seed: run for seed, run in runs.items() if schedule in run["result"]["test"]}


def _paired(study: Study, arm: StudyArm, runs: Runs, base_arm: StudyArm, base: Runs) -> tuple[Runs, Runs]:
    """Return the trainings of both sides by seed; untrained weights with one seed are paired with every other seed."""

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
        # Older files do not know recordings; then recordings are drawn for neither side.
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
    """Return the seconds of a step per clip: the mean over the schedules that the steps of a recipe draw."""
    reduction = recipe["reduction"] or {"r": [0], "schedule": []}
    drawn = [str(Constant(r)) for r in reduction["r"]] or reduction["schedule"]
    return float(np.mean([speeds.seconds(schedule) for schedule in drawn]))


def _step_speed(arm: StudyArm, runs: Runs, speeds: Speeds) -> dict[str, float]:
    """Return the speed of the arm's training steps, as its row has it."""
    seconds = math.nan if arm.untrained else step_seconds(next(iter(runs.values()))["recipe"], speeds)
    return {"step_speedup": speeds.unmerged_seconds / seconds, "train_seconds_per_1000": 1000 * seconds}
