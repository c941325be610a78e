"""Which sounds a way of training loses: average precision by family of classes, compared with the claim's model.

Shapes: `c` classes, `s` seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.records.export import split_schedule
from bench.report.drawing.layout import error_bars, footnote
from bench.report.drawing.style import DOUBLE, GREY, GUIDE, colour_of
from bench.study.groups import merges_nothing, schedule_words
from bench.study.recipes import run_folder
from bench.study.statistics.scores import read_replicates
from bench.study.study_file import Study, StudyArm
from fastast.data.soundscapes.classes import ALONE, CHILDREN, CLASSES, DRUMS, INSTRUMENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES: dict[str, tuple[str, ...]] = {
    "Speech": CHILDREN["Speech"],
    "Animals": CHILDREN["Animal"],
    "Vehicles": CHILDREN["Vehicle"],
    "Drums": DRUMS,
    "Other music": (*INSTRUMENTS, "Music track", "Ringtone"),
    "Other sounds": ALONE,
}
"""Leaf classes of the soundscapes by family; parents would count their leaves twice."""
COLUMNS = (
    *("arm", "label", "family", "classes", "schedule", "seeds", "AP", "delta", "delta_low", "delta_high"),
    *("against", "against_schedule"),
)


def families(study: Study, results: Path) -> pd.DataFrame:
    """Return mean average precision of every family, and its difference to the claim's model under its first schedule.

    There is a row per arm of `study.families`, schedule and family; `delta_low` and `delta_high` are those of the
    lowest and the highest seed. Arms that were published without average precision by class have no rows.
    """
    if study.claim is None:
        return pd.DataFrame(columns=list(COLUMNS))
    base_arm = study.arm(study.claim.against)
    base_schedule = study.tested_under(base_arm)[0]
    bases = _by_class(study, results, base_arm, base_schedule)  # (s, c)
    if not len(bases):
        return pd.DataFrame(columns=list(COLUMNS))
    base, rows = bases.mean(axis=0), []
    for arm in map(study.arm, study.families):
        for schedule in study.schedules_of(arm):
            found = _by_class(study, results, arm, schedule)  # (s, c)
            for family, columns in _columns() if len(found) else ():
                values, delta = found[:, columns].mean(axis=1), (found - base)[:, columns].mean(axis=1)  # (s,)
                numbers = (len(values), values.mean(), delta.mean(), delta.min(), delta.max())
                named = (arm.name, arm.label, family, len(columns), schedule)
                rows.append((*named, *numbers, base_arm.label, base_schedule))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _columns() -> Iterator[tuple[str, list[int]]]:
    for family, names in FAMILIES.items():
        yield family, [CLASSES.index(name) for name in names]


def _by_class(study: Study, results: Path, arm: StudyArm, schedule: str) -> NDArray[np.float64]:
    """Return the average precision of every class, (s, c), for the published seeds that have it."""
    folders = [run_folder(results, study, arm.name, seed) for seed in study.seeds_of(arm)]
    found = [read_replicates(folder).by_class.get(schedule) for folder in folders if folder.is_dir()]
    whole = [values for values in found if values is not None and len(values) == len(CLASSES)]
    return np.array(whole) if whole else np.empty((0, len(CLASSES)))


def family_figure(rows: pd.DataFrame, notes: str) -> Figure:
    """Draw the difference of every family against r, with a panel per arm, all on the same axes.

    Raises ValueError if there are no rows.
    """
    import matplotlib.pyplot as plt

    if rows.empty:
        raise ValueError("no arm of `families` is published with average precision by class")
    styles = colour_of(list(FAMILIES))
    arms = list(dict.fromkeys(rows["label"]))
    merged = rows[~rows["schedule"].map(merges_nothing)]
    places, ticks = _places(list(dict.fromkeys(merged["schedule"])))
    figure, axes = plt.subplots(1, len(arms), figsize=(DOUBLE, 3.2), squeeze=False, sharex=True, sharey=True)
    for axis, label in zip(axes[0], arms, strict=True):
        for family, line in merged[merged["label"] == label].groupby("family", sort=False):
            line = line.assign(place=line["schedule"].map(places)).sort_values("place")
            colour, marker = styles[str(family)]
            axis.errorbar(
                *(line["place"], line["delta"]),
                yerr=error_bars(line, "delta"),
                color=colour,
                marker=marker,
                capsize=2,
                elinewidth=0.7,
                label=family,
            )
        axis.axhline(0, color=GREY, linestyle="--", linewidth=0.8, zorder=GUIDE)
        if ticks:
            axis.set_xticks(range(len(ticks)), ticks)
        axis.set_xlabel("Tested with" if ticks else "Tokens merged per block, r")
        axis.set_title(label, loc="left", wrap=True)
    axes[0, 0].set_ylabel("Difference in average precision")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=len(FAMILIES))
    spread = "; bars: lowest to highest seed" if rows["seeds"].max() > 1 else ", of one seed"
    base = f"“{rows['against'].iloc[0]}”, {schedule_words(rows['against_schedule'].iloc[0])}"
    footnote(figure, f"{notes}; difference to {base}; mean over the classes of a family{spread}.")
    return figure


def _places(schedules: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Return the places of schedules on an axis: their r if each has its own, else equally spaced, with tick labels."""
    r = {name: split_schedule(name)[1] for name in schedules}
    if None not in r.values() and len(set(r.values())) == len(schedules):
        return {name: float(value) for name, value in r.items() if value is not None}, []
    return {name: float(place) for place, name in enumerate(schedules)}, [*map(schedule_words, schedules)]
