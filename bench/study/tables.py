"""The tables of a study as CSV, Markdown and LaTeX (booktabs), one for each group of arms."""

from __future__ import annotations

import pandas as pd

from bench.report.latex import booktabs, emphasised, escape, stacked
from bench.report.markdown import markdown_table
from bench.report.words import interval, number
from bench.study.groups import against, groups, held_against, mixed, ranked, schedule_words
from bench.study.speeds import UNMERGED
from bench.study.words import TableWords

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
_MOST_ROWS = 26
"""Of a table of LaTeX on a page, as captions are long and some names take two lines."""
_BOLD = "Bold: the best mAP under its schedule, where several rows have it{}"


def tables(rows: pd.DataFrame, title: str, notes: TableWords) -> dict[str, str]:
    """Return `table.csv` (every column of the frame), `table.md` and `table.tex` by file name."""
    return {
        "table.csv": rows.to_csv(index=False, lineterminator="\n"),
        "table.md": study_markdown(rows, notes),
        "table.tex": study_latex(rows, title, notes),
    }


def study_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a group's rows as text. mAP is the mean over seeds, with their standard deviation.

    What was not measured for any row has no column, nor has what all rows are held against.
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
                "peak_memory_mib": number(row["peak_memory_mib"], "{:.0f}", missing="–"),
            }
            for _, row in rows.iterrows()
        ],
        columns=list(HEADS),
    )
    empty = [name for name in ("speedup", "clips", "training", "peak_memory_mib") if (text[name] == "–").all()]
    return text.drop(columns=[*empty, *([] if mixed(rows) else ["against"])])


def study_markdown(rows: pd.DataFrame, notes: TableWords) -> str:
    """Return one GitHub table per group; the best mAP of a schedule is bold."""
    parts, columns, bold = [], set[str](), False
    for title, part in groups(rows):
        text = study_text(part)
        columns |= set(text)
        best = ranked(part, 0)
        text.loc[best, "mAP"] = "**" + text.loc[best, "mAP"] + "**"
        bold |= bool(best)
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
    said = " ".join(filter(None, [notes.of(rows, columns), _BOLD.format(".") if bold else ""]))
    return "\n\n".join([*parts, said]) + "\n"


def study_latex(rows: pd.DataFrame, title: str, notes: TableWords) -> str:
    """Return one booktabs table per group, as wide as a page of two columns, each with all that its caption must say.

    Of each schedule the best mAP is bold, the second underlined; the ends of an interval stand below and above its
    value, as in the tables of sweeps.
    """
    parts = ["% Made from published trainings; do not edit. Needs \\usepackage{booktabs}."]
    for place, (name, part) in enumerate(groups(rows), 1):
        text = study_text(part)
        text = _told_once(text.map(escape).map(stacked).map(_indexed))
        best = ranked(part, 0)
        for at, command in ((best, "textbf"), (ranked(part, 1), "underline")):
            text.loc[at, "mAP"] = [emphasised(cell, command) for cell in text.loc[at, "mAP"]]
        long = "p{4.6cm}"
        if "against" in text:  # for two columns of names there is less room, and throughput is the speed-up again
            text, long = text.drop(columns="clips", errors="ignore"), "p{3cm}"
        columns = "".join("l" if column == "schedule" else long if column in WORDS else "r" for column in text)
        shown = list(text)
        text.columns = pd.Index([escape(NARROW[column]) for column in shown])
        bold = _BOLD.format("; underlined: the second.") if best else ""
        said = [f"{name}.", held_against(part), notes.of(part, set(shown), stacked=True), bold]
        caption = " ".join(filter(None, said))
        label = f"tab:{title}-{place}"
        parts.append(booktabs(text, columns, caption=caption, label=label, most_rows=_MOST_ROWS))
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
