"""Quality by training time: mAP on the validation clips against seconds of training.

The seconds are those of measured steps rather than of logs, so that what else a machine did while training does not
count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.drawing.layout import footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.figures.curves import log_events
from bench.study.frame import step_seconds
from bench.study.groups import merges_nothing, schedule_words
from bench.study.recipes import StudyError, run_folder
from bench.study.speeds import Speeds
from bench.study.study_file import Study, StudyArm
from bench.study.words import points_words
from fastast.training.run_folder.folder import RECIPE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("arm", "label", "seed", "schedule", "clips", "seconds", "mAP")
_VAL = "val "
_FEWEST = 3
"""Fewest validations of a training that make a curve, including that at its end."""
_MOST_PANELS = 3


def progress(study: Study, trainings: Path, steps: Speeds) -> pd.DataFrame:
    """Return the validations in the published logs of the main arms: one row per arm, seed, schedule and step.

    Columns: `clips` trained on so far, and `seconds` of the steps for them, NaN if `steps` lacks a schedule. Each
    training starts, at 0, with the score of the study's first untrained arm on the same validation clips. Raises
    StudyError if trainings were validated on different clips.
    """
    rows: list[tuple[object, ...]] = []
    starts: dict[tuple[str, str], float] = {}
    drawn: dict[str, Path] = {}
    for arm in study.arms:
        for seed in study.seeds_of(arm) if arm.group == "main" else ():
            folder = run_folder(trainings, study, arm.name, seed)
            if not (found := _validations(folder)):
                continue
            recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
            clips = str(recipe.get("inputs", {}).get("data.val_ids", ""))  # missing in older runs
            if arm.untrained:
                starts |= {(clips, schedule): score for _, schedule, score in found if (clips, schedule) not in starts}
            elif len({step for step, *_ in found}) >= _FEWEST:
                drawn.setdefault(clips, folder)
                rows += _of_training(arm, seed, recipe["question"], found, steps)
    if len(drawn) > 1:
        one, other, *_ = drawn.values()
        raise StudyError(f"{one} and {other} were validated on different clips; their curves cannot be compared")
    begun = {one[:4]: 0.0 * one[5] for one in rows}  # type: ignore[operator]  # NaN if steps have no time
    start = {schedule: score for (clips, schedule), score in starts.items() if clips in drawn}
    rows += [(*one, 0, zero, start[str(one[3])]) for one, zero in begun.items() if one[3] in start]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {name: place for place, name in enumerate(study.names)}
    return frame.sort_values(["arm", "seed", "schedule", "clips"], key=lambda c: c.map(order) if c.name == "arm" else c)


def end_of(rows: pd.DataFrame, reference: str) -> float:
    """Return the last score of the reference without merging, mean over its seeds; NaN if it was not validated so.

    rows: as returned by `progress`.
    """
    mine = rows[(rows["arm"] == reference) & rows["schedule"].map(merges_nothing).astype(bool)]
    return float(mine.sort_values("clips").groupby("seed")["mAP"].last().mean())


def seconds_to(rows: pd.DataFrame, level: float) -> pd.Series:
    """Return the seconds after which each training reaches `level`, by arm, schedule and seed; NaN if it never does.

    rows: as returned by `progress`. Scores are interpolated linearly between validations.
    """

    def first(part: pd.DataFrame) -> float:
        x, y = part["seconds"].to_numpy(), part["mAP"].to_numpy()
        reached = np.flatnonzero(y >= level)
        if not len(reached):
            return float("nan")
        i = int(reached[0])
        return float(x[0] if i == 0 else np.interp(level, y[i - 1 : i + 1], x[i - 1 : i + 1]))

    if rows.empty:
        index = pd.MultiIndex.from_arrays([[], [], []], names=["arm", "schedule", "seed"])
        return pd.Series(dtype=float, name="seconds", index=index)
    groups = rows.sort_values("clips").groupby(["arm", "schedule", "seed"], sort=False)
    return groups[["seconds", "mAP"]].apply(first).rename("seconds")


def progress_figure(rows: pd.DataFrame, reference: str, notes: str = "", speeds: str = "") -> Figure:
    """Draw a panel per schedule, a line per arm: the mean over the seeds, in a band from the lowest to the highest.

    There are at most three schedules: those under which most arms were validated. Dashed: the last score of the
    `reference`. notes: what mAP was measured on. speeds: what the minutes were measured on. Raises ValueError if no arm
    was validated often enough, or none has a time.
    """
    import matplotlib.pyplot as plt

    rows = rows.dropna(subset=["seconds"])
    end = end_of(rows, reference)  # of all seeds
    name = next(iter(rows.loc[rows["arm"] == reference, "label"]), reference)
    often = _often_validated(rows)
    left_out, rows = len(often) < len(rows), often
    arms = rows.groupby("schedule")["arm"].nunique()
    schedules = sorted(arms.index, key=lambda name: (-arms[name], _removed(name)))[:_MOST_PANELS]
    if not schedules:
        raise ValueError("no published log has enough validations and a measured time of its steps")
    schedules.sort(key=_removed)
    figure, axes = plt.subplots(1, len(schedules), figsize=(DOUBLE, 3.0), sharex=True, sharey=True, squeeze=False)
    styles = colour_of(list(dict.fromkeys(rows["label"])))
    for axis, schedule in zip(axes[0], schedules, strict=True):
        for label, part in rows[rows["schedule"] == schedule].groupby("label", sort=False):
            colour, marker = styles[str(label)]
            by_time = part.groupby("seconds")["mAP"].agg(["mean", "min", "max"])
            x = by_time.index / 60
            axis.fill_between(x, by_time["min"], by_time["max"], color=colour, alpha=0.15, linewidth=0)
            axis.plot(x, by_time["mean"], color=colour, marker=marker, markersize=3.5, linewidth=1.1, label=label)
        axis.set_title(schedule_words(schedule), loc="left")
        axis.set_xlabel("Minutes of training steps")
    for axis in axes[0] if np.isfinite(end) else ():
        axis.axhline(end, color=GREY, linestyle="--", linewidth=0.8, zorder=GUIDE)
    axes[0, 0].set_ylabel("mAP on validation clips")
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=2)
    points = points_words(rows.groupby("arm")["seed"].nunique().max(), "bands")
    points += "; seeds that were validated less often are left out" * left_out
    dashed = f"Dashed: where “{name}” ends, no merging. " if np.isfinite(end) else ""
    footnote(
        figure,
        f"{notes}{'. ' * bool(notes)}{points}. Minutes: of the steps alone, as measured with the schedules that they "
        f"draw, without a teacher's answers. {dashed}{speeds}",
    )
    return figure


def _often_validated(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the seeds validated most often, by arm and schedule: with the others, means would jump."""
    counts = rows.groupby(["arm", "schedule", "seed"])["clips"].transform("size")
    most = counts.groupby([rows["arm"], rows["schedule"]]).transform("max")
    return rows[counts == most]


def _of_training(
    arm: StudyArm, seed: int, question: Mapping[str, Any], found: list[tuple[int, str, float]], steps: Speeds
) -> list[tuple[object, ...]]:
    batch, seconds = question["batch_size"], step_seconds(question, steps)
    return [
        (arm.name, arm.label, seed, schedule, step * batch, step * batch * seconds, score)
        for step, schedule, score in found
    ]


def _validations(training: Path) -> list[tuple[int, str, float]]:
    """Return step, schedule and mAP of every validation, the last one logged where a resumed training repeated it."""
    found: dict[tuple[int, str], float] = {}
    for event in log_events(training):
        if event["event"].startswith(_VAL):
            found[event["step"], event["event"].removeprefix(_VAL)] = event["mAP"]
    return [(step, schedule, score) for (step, schedule), score in found.items()]


def _removed(schedule: str) -> int:
    """Return the r of a constant schedule as a sort key that puts others last."""
    _, _, r = schedule.partition(":")
    return int(r) if r.isdigit() else 1 << 30
