"""The groups of rows that stand in one table, in which order, and what they are held against."""

from __future__ import annotations

import math

import pandas as pd

from bench.records.export import split_schedule
from bench.study.frame import CLAIM, CONTRAST
from bench.study.speeds import UNMERGED

GROUPS = {
    "main": "Merging and distillation",
    "teacher": "Teachers",
    "part": "What goes into averages",
    CLAIM: "Faster, and as accurate",
    CONTRAST: "What each part adds",
}
"""Titles of tables; those of ablations are their groups' own words."""


def groups(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables: title and rows, in the order of the study, of every arm from slow to fast.

    A claim of which every row stands in another table too has none of its own.
    """
    parts = [(str(name), part) for name, part in rows.groupby("group", sort=False)]
    shown = [(name, part) for name, part in parts if name != CLAIM or not _is_repeated(part, rows)]
    return [(GROUPS.get(name, name), _from_slow_to_fast(part)) for name, part in shown]


def _is_repeated(claim: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether all rows of a claim are arms as they stand in their own groups, held against the same."""
    same = ["arm", "schedule", "against", "against_schedule"]
    arms = rows[~rows["group"].isin((CLAIM, CONTRAST))]
    told = set(arms[same].itertuples(index=False, name=None))
    return told.issuperset(claim[same].itertuples(index=False, name=None))


def _from_slow_to_fast(part: pd.DataFrame) -> pd.DataFrame:
    """Return rows with those of one arm by speed-up, or by r where that was not measured; without merging first."""
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
    """Return what a row is held against, with the schedule where that is another; empty for the reference itself."""
    same = row["against_schedule"] == row["schedule"]
    return str(row["against"]) + ("" if same or not row["against"] else f", {schedule_words(row['against_schedule'])}")


def mixed(rows: pd.DataFrame) -> bool:
    """Whether rows are held against different arms, or some under their own schedule and some under another."""
    held = rows[rows["against"] != ""]
    one_schedule = held["against_schedule"].nunique() < 2 or (held["against_schedule"] == held["schedule"]).all()
    return bool(held["against"].nunique() > 1 or not one_schedule)


def held_against(rows: pd.DataFrame) -> str:
    """Return the sentence that names what a group's rows are held against; none where a column names it."""
    held = rows[rows["against"] != ""]
    if mixed(rows) or held.empty:
        return ""
    same = (held["against_schedule"] == held["schedule"]).all()
    schedule = "under the same schedule" if same else schedule_words(held["against_schedule"].iloc[0])
    return f"Difference to “{held['against'].iloc[0]}”, {schedule}."


def ranked(rows: pd.DataFrame, place: int) -> list[int]:
    """Return where in a group the best (or the next, by `place`) mAP of each schedule stands that several rows have."""
    frame = rows.reset_index(drop=True).dropna(subset=["mAP"])
    found = []
    for _, same in frame.groupby("schedule", sort=False):
        order = same["mAP"].sort_values(ascending=False, kind="stable").index
        found += [int(order[place])] if len(order) > max(1, place) else []
    return found


def merges_nothing(schedule: str) -> bool:
    """Whether a schedule merges nothing; a model without tokens has none."""
    return schedule in ("unmerged", UNMERGED)


def schedule_words(schedule: str) -> str:
    """Return a schedule as a table says it."""
    family, _, rest = schedule.partition(":")
    return "no merging" if merges_nothing(schedule) else f"r = {rest}" if family == "constant" else schedule
