"""The rows of a study: every arm under every schedule, over its seeds, held against the reference.

How sure a difference is hangs on two things that chance decided: the seed of the training, and the clips of the test.
The interval has both: the variance of the seeds' mean and that of the clips (of replicates that draw the same clips for
both sides, averaged over seeds), and Student's t with the degrees of freedom of Welch and Satterthwaite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.statistics import CONFIDENCE
from bench.study.scores import Replicates, read_replicates
from bench.study.study_file import Arm, Study
from bench.study.trainings import StudyError, run_folder
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
    "delta": "mAP less that of the reference, mean over the seeds that both have",
    "delta_low": "lower end of its 95 % interval, over seeds and clips",
    "delta_high": "upper end",
    "delta_seeds": "seeds that both have",
    "AUC": "mean over seeds",
    "seconds_per_1000": "training time of 1,000 clips, s, median over seeds; as the log has it, not for comparing",
    "peak_memory_mib": "most memory of a training, MiB",
    "clips": "test clips",
    "steps": "of a training",
    "speedup": "throughput over the unmerged model's",
    "speedup_low": "lower end of its 95 % interval",
    "speedup_high": "upper end",
    "step_speedup": "of a step of training that merges so, over one without merging",
    "step_speedup_low": "lower end of its 95 % interval",
    "step_speedup_high": "upper end",
}


Speeds = Mapping[str, tuple[float, float, float]]
"""Speed-up and both ends of its interval, by schedule."""


def frame(study: Study, results: Path, speeds: Speeds, step_speeds: Speeds | None = None) -> pd.DataFrame:
    """Return one row for every arm and schedule that has a published training, in the order of the study.

    `speeds`: of the forward; `step_speeds`: of a step of training, for arms that merge in training. Raises StudyError
    where nothing is published, the reference is not, or two trainings were tested on other clips.
    """
    found = {arm.name: _trainings(study, arm, results) for arm in study.arms}
    _refuse_other_clips(found)
    reference = found[study.reference]
    if not reference:
        raise StudyError(
            f"study {study.name}: {results / study.name} has no training of the reference {study.reference!r}; "
            f"run python -m bench study run {study.name} and publish it"
        )
    base_schedule = (study.schedules_of(study.arm(study.reference)) or ("unmerged",))[0]
    rows = []
    for arm in study.arms:
        trainings = found[arm.name]
        for schedule in study.schedules_of(arm) or ("unmerged",):
            having = {seed: run for seed, run in trainings.items() if schedule in run["result"]["test"]}
            if having:
                base = None if arm.name == study.reference and schedule == base_schedule else reference
                row = _row(arm, schedule, having, base, base_schedule)
                merges = any(run["recipe"]["reduction"] for run in having.values())
                steps = (step_speeds or {}) if merges else {}
                rows.append(row | _speed("speedup", schedule, speeds) | _speed("step_speedup", schedule, steps))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def difference(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], replicates: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the mean difference over seeds and its interval.

    mine, theirs: (s,), mAP seed by seed; replicates: (b,), the mean difference over seeds when other clips are drawn.
    Of one seed nothing is known of chance in training: its interval is of the clips alone.
    """
    from scipy.stats import norm, t

    values = mine - theirs
    count, clips = len(values), float(np.var(replicates, ddof=1))
    tail = 0.5 + CONFIDENCE / 2
    if count > 1:
        seeds = float(np.var(values, ddof=1)) / count
        # Welch and Satterthwaite: the clips' part is known far better than that of a few seeds.
        freedom = (count - 1) * ((seeds + clips) / seeds) ** 2 if seeds else math.inf
        half = float(t.ppf(tail, freedom)) * math.sqrt(seeds + clips)
    else:
        half = float(norm.ppf(tail)) * math.sqrt(clips)
    mean = float(values.mean())
    return mean, mean - half, mean + half


def _trainings(study: Study, arm: Arm, results: Path) -> dict[int, dict[str, Any]]:
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


def _refuse_other_clips(found: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
    seen: dict[tuple[int, str], Path] = {}
    for runs in found.values():
        for run in runs.values():
            replicates: Replicates = run["replicates"]
            seen.setdefault((replicates.clips, replicates.labels), run["folder"])
    if len(seen) > 1:
        first, second = list(seen.values())[:2]
        raise StudyError(f"{first} and {second} were tested on other clips and cannot be compared; move one away")


def _row(
    arm: Arm,
    schedule: str,
    runs: Mapping[int, Mapping[str, Any]],
    reference: Mapping[int, Mapping[str, Any]] | None,
    base_schedule: str,
) -> dict[str, Any]:
    results = [run["result"] for run in runs.values()]
    values = np.array([result["test"][schedule]["mAP"] for result in results])
    seconds = [
        r["seconds"] / (r["steps"] * run["recipe"]["batch_size"]) * 1000
        for r, run in zip(results, runs.values(), strict=True)
    ]
    delta, both = (math.nan,) * 3, [seed for seed in runs if reference and seed in reference]
    if reference and both:
        draws = [
            runs[seed]["replicates"].by_schedule[schedule] - reference[seed]["replicates"].by_schedule[base_schedule]
            for seed in both
        ]
        base = np.array([reference[seed]["result"]["test"][base_schedule]["mAP"] for seed in both])
        mine = np.array([runs[seed]["result"]["test"][schedule]["mAP"] for seed in both])
        delta = difference(mine, base, np.mean(draws, axis=0))
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
        **dict(zip(("delta", "delta_low", "delta_high"), delta, strict=True)),
        "delta_seeds": len(both),
        "AUC": np.mean([result["test"][schedule]["AUC"] for result in results]),
        "seconds_per_1000": float(np.median(seconds)),
        "peak_memory_mib": max(result.get("peak_memory_mib", 0) for result in results),
        "clips": results[0]["test_clips"],
        "steps": results[0]["steps"],
    }


def _speed(name: str, schedule: str, speeds: Speeds) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), speeds.get(schedule, (math.nan,) * 3), strict=True))
