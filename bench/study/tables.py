"""The tables of a study as CSV, Markdown and LaTeX (booktabs), one for each group of arms."""

from __future__ import annotations

import pandas as pd

from bench.report.latex import booktabs, emphasised, escape
from bench.report.markdown import markdown_table
from bench.report.words import interval, number
from bench.study.frame import CLAIM, CONTRAST
from bench.study.speeds import UNMERGED

HEADS: dict[str, str] = {
    "label": "Model",
    "against": "Held against",
    "schedule": "Tested with",
    "speedup": "Speed-up ↑",
    "clips": "Clips/s ↑",
    "mAP": "mAP ↑",
    "delta": "Difference ↑",
    "seeds": "Seeds",
    "training": "Training (s/1,000 clips) ↓",
    "peak_memory_mib": "Memory in training (MiB) ↓",
}
NARROW = HEADS | {
    "schedule": "Merging",
    "delta": "Δ mAP ↑",
    "against": "to",
    "training": "s/1k ↓",
    "peak_memory_mib": "MiB ↓",
}
"""Heads where a page of two columns has to do."""
WORDS = ("label", "schedule", "against")
"""Columns of words: to the left; numbers are to the right."""
GROUPS = {
    "main": "Merging and distillation",
    "teacher": "Teachers",
    "part": "What goes into averages",
    CLAIM: "Faster, and as accurate",
    CONTRAST: "What each part adds",
}
"""Titles of tables; those of ablations are their groups' own words."""


def tables(rows: pd.DataFrame, title: str, notes: str) -> dict[str, str]:
    """Return `table.csv` (every column of the frame), `table.md` and `table.tex` by file name."""
    return {
        "table.csv": rows.to_csv(index=False, lineterminator="\n"),
        "table.md": study_markdown(rows, notes),
        "table.tex": study_latex(rows, title, notes),
    }


def study_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a group's rows as text. mAP is the mean over seeds, with their standard deviation.

    Speeds that were not measured for any row have no column, nor has what all rows are held against.
    """
    text = pd.DataFrame(
        [
            {
                "label": row["label"],
                "against": against(row) or "–",
                "schedule": schedule_words(row["schedule"]),
                "speedup": number(row["speedup"], "1" if row["schedule"] == UNMERGED else "{:.2f}", missing="–"),
                "clips": number(row["clips_per_second"], "{:.1f}", missing="–"),
                "mAP": number(row["mAP"], "{:.4f}")
                + ("" if pd.isna(row["mAP_sd"]) else f" ± {number(row['mAP_sd'], '{:.4f}')}"),
                "delta": interval(row, "delta", "{:+.4f}", missing="–"),
                "seeds": str(row["seeds"]),
                "training": number(row["train_seconds_per_1000"], "{:.0f}", missing="–"),
                "peak_memory_mib": number(row["peak_memory_mib"], "{:.0f}"),
            }
            for _, row in rows.iterrows()
        ],
        columns=list(HEADS),
    )
    empty = [name for name in ("speedup", "clips", "training") if (text[name] == "–").all()]
    return text.drop(columns=[*empty, *([] if mixed(rows) else ["against"])])


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


def chance_words(rows: pd.DataFrame) -> str:
    """Return what chance the intervals of differences know of; that in training only where there are several seeds."""
    held = rows[rows["delta"].notna()]
    known = len(held) and held["recordings"].astype(bool).all()
    several = held[["delta_seeds", "against_seeds"]].max(axis=1) > 1
    if not several.any():
        return "clips and recordings of one seed" if known else "clips of one seed"
    all_of_it = "seeds, clips and recordings" if known else "seeds and clips"
    alone = "clips and recordings" if known else "clips"
    return all_of_it if several.all() else f"{all_of_it}, or {alone} alone where both sides have one seed"


def points_words(seeds: int, spread: str = "bars") -> str:
    """Return what the points of a figure are, and its bars or bands; `seeds`: most of any arm."""
    return f"Points: mean over the seeds; {spread}: lowest to highest seed" if seeds > 1 else "Points: of one seed each"


def merges_nothing(schedule: str) -> bool:
    """Whether a schedule merges nothing; a model without tokens has none."""
    return schedule in ("unmerged", UNMERGED)


def schedule_words(schedule: str) -> str:
    """Return a schedule as a table says it."""
    family, _, rest = schedule.partition(":")
    return "no merging" if merges_nothing(schedule) else f"r = {rest}" if family == "constant" else schedule


def groups(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables: title and rows, in the order of the study."""
    return [(GROUPS.get(str(name), str(name)), part) for name, part in rows.groupby("group", sort=False)]


def ranked(rows: pd.DataFrame, place: int) -> list[int]:
    """Return where in a group the best (or the next, by `place`) mAP of each schedule stands that several rows have."""
    frame = rows.reset_index(drop=True).dropna(subset=["mAP"])
    found = []
    for _, same in frame.groupby("schedule", sort=False):
        order = same["mAP"].sort_values(ascending=False, kind="stable").index
        found += [int(order[place])] if len(order) > max(1, place) else []
    return found


def study_markdown(rows: pd.DataFrame, notes: str) -> str:
    """Return one GitHub table per group; the best mAP of a schedule is bold."""
    parts = []
    for title, part in groups(rows):
        text = study_text(part)
        best = ranked(part, 0)
        text.loc[best, "mAP"] = "**" + text.loc[best, "mAP"] + "**"
        lines = [
            f"**{title}**" + (f" · {held_against(part)}" if held_against(part) else ""),
            "",
            markdown_table(
                [HEADS[column] for column in text],
                text.itertuples(index=False, name=None),
                words=[number for number, column in enumerate(text) if column in WORDS],
            ),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, notes]) + "\n"


def study_latex(rows: pd.DataFrame, title: str, notes: str) -> str:
    """Return one booktabs table per group, as wide as a page of two columns; an interval is half of its width.

    Of each schedule the best mAP is bold, the second underlined.
    """
    parts = ["% Made from published trainings; do not edit. Needs \\usepackage{booktabs}."]
    for place, (name, part) in enumerate(groups(rows), 1):
        text = study_text(part)
        text["delta"] = [_half(row) for _, row in part.iterrows()]
        text = _told_once(text.map(escape).map(_indexed))
        for rank, command in ((0, "textbf"), (1, "underline")):
            at = ranked(part, rank)
            text.loc[at, "mAP"] = [emphasised(cell, command) for cell in text.loc[at, "mAP"]]
        long = "p{4.6cm}"
        if "against" in text:  # for two columns of names there is less room, and throughput is the speed-up again
            text, long = text.drop(columns="clips", errors="ignore"), "p{3cm}"
        columns = "".join("l" if column == "schedule" else long if column in WORDS else "r" for column in text)
        text.columns = pd.Index([escape(NARROW[column]) for column in text.columns])
        caption = " ".join(filter(None, [f"{name}.", held_against(part), notes if place == 1 else ""]))
        parts.append(booktabs(text, columns, caption=caption, label=f"tab:{title}-{place}"))
    return "\n".join(parts)


def _told_once(text: pd.DataFrame) -> pd.DataFrame:
    """Leave out what the row above says of the model too: a long name takes two lines, and not of every row."""
    names = [name for name in ("label", "against") if name in text]
    again = (text[names] == text[names].shift()).all(axis=1)
    told = text[names].map(lambda words: f"\\raggedright {words}").mask(again, "")
    starts = ~again & (told.index > 0)  # a model begins, and stands a little apart from the one before it
    return text.assign(**told.assign(label=told["label"].mask(starts, "\\addlinespace " + told["label"])))


def _indexed(text: str) -> str:
    """Return `value ± spread`, escaped, with the spread as an index; other text as it is."""
    value, found, spread = text.partition(" $\\pm$ ")
    return f"{value}$_{{\\pm {spread}}}$" if found else text


def _half(row: pd.Series) -> str:
    if pd.isna(row["delta"]):
        return "–"
    half = (row["delta_high"] - row["delta_low"]) / 2
    return f"{number(row['delta'], '{:+.4f}')} ± {number(half, '{:.4f}')}"
