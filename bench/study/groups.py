"""Group the rows of a study into tables, order them, and name what they are compared with."""

from __future__ import annotations

import math

import pandas as pd

from bench.records.export import split_schedule
from bench.report.tables.cells import in_place
from bench.study.frame import CLAIM, CONTRAST
from bench.study.speeds import UNMERGED

GROUPS = {
    "main": "Merging and distillation",
    "teacher": "Teachers",
    "part": "What goes into averages",
    CLAIM: "Faster, and as accurate",
    CONTRAST: "What each part adds",
}
"""Titles of tables; those of ablations are the names of their groups."""


def groups(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return title and rows of every table, in the order of the study, with the rows of an arm from slow to fast.

    A claim has no table of its own if all its rows are in other tables.
    """
    parts = [(str(name), part) for name, part in rows.groupby("group", sort=False)]
    shown = [(name, part) for name, part in parts if name != CLAIM or not _is_repeated(part, rows)]
    return [(GROUPS.get(name, name), _from_slow_to_fast(part)) for name, part in shown]


def _is_repeated(claim: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Return whether all rows of a claim are also in the tables of their arms, compared with the same."""
    same = ["arm", "schedule", "against", "against_schedule"]
    arms = rows[~rows["group"].isin((CLAIM, CONTRAST))]
    told = set(arms[same].itertuples(index=False, name=None))
    return told.issuperset(claim[same].itertuples(index=False, name=None))


def _from_slow_to_fast(part: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows of each arm by speed-up, or by r if that was not measured; those without merging come first."""
    places = {label: place for place, label in enumerate(dict.fromkeys(part["label"]))}
    keys = pd.DataFrame(
        {
            "arm": part["label"].map(places),
            "merged": ~part["schedule"].map(merges_nothing).astype(bool),
            "speedup": part.get("speedup", math.nan),
            "r": [math.inf if (r := split_schedule(name)[1]) is None else r for name in part["schedule"]],
        },
        index=part.index,
    )
    return part.loc[keys.sort_values(list(keys), kind="stable").index]


def against(row: pd.Series) -> str:
    """Return what a row is compared with, and its schedule if that differs; empty for the reference itself."""
    same = row["against_schedule"] == row["schedule"]
    return str(row["against"]) + ("" if same or not row["against"] else f", {schedule_words(row['against_schedule'])}")


def mixed(rows: pd.DataFrame) -> bool:
    """Return whether rows are compared with different arms, or neither all with one schedule nor all with their own."""
    held = rows[rows["against"] != ""]
    one_schedule = held["against_schedule"].nunique() < 2 or (held["against_schedule"] == held["schedule"]).all()
    return bool(held["against"].nunique() > 1 or not one_schedule)


def held_against(rows: pd.DataFrame) -> str:
    """Return a sentence that names what a group's rows are compared with; empty if a column names it."""
    held = rows[rows["against"] != ""]
    if mixed(rows) or held.empty:
        return ""
    same = (held["against_schedule"] == held["schedule"]).all()
    schedule = "under the same schedule" if same else schedule_words(held["against_schedule"].iloc[0])
    return f"Difference to “{held['against'].iloc[0]}”, {schedule}."


def named_after_parts(rows: pd.DataFrame) -> bool:
    """Return whether a group's rows are contrasts, which have the name of a part and the mAP of a model with it."""
    return bool((rows["group"] == CONTRAST).all())


def ranked(rows: pd.DataFrame, place: int) -> list[int]:
    """Return the positions of the best mAPs (or the next ones, by `place`) of the schedules that several rows share.

    Equal values share their place: a table of contrasts names an arm once for each of its parts.
    """
    shared = rows.reset_index(drop=True).groupby("schedule", sort=False)["mAP"]
    return [row for _, same in shared if same.nunique() > 1 for row in in_place(same, place)]


def merges_nothing(schedule: str) -> bool:
    """Return whether a schedule merges nothing, as for a model without tokens."""
    return schedule in ("unmerged", UNMERGED)


def schedule_words(schedule: str) -> str:
    """Return a schedule in the words of tables."""
    family, _, rest = schedule.partition(":")
    return "no merging" if merges_nothing(schedule) else f"r = {rest}" if family == "constant" else schedule
