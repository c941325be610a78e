"""Tables of a study as CSV, Markdown and LaTeX (booktabs), one for each group of arms."""

from __future__ import annotations

import pandas as pd

from bench.report.tables.latex import emphasised, escape, stacked
from bench.report.tables.latex_page import booktabs
from bench.report.tables.markdown import markdown_table
from bench.report.words import interval, number
from bench.study.groups import against, groups, held_against, mixed, named_after_parts, ranked, schedule_words
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
    "training": "s/1k ↓",
    "peak_memory_mib": "MiB ↓",
}
"""Heads of tables that have to fit a page of two columns."""
WORDS = ("label", "schedule", "against")
"""Columns of text, which are aligned left; numbers are aligned right."""
_MOST_LINES = 26
"""Most rows of a LaTeX table on a page, as captions are long and some names take two lines."""
_PART = {"label": "Part"}
_OF_PARTS = "mAP: of the model with that part."
"""Head and note of tables whose rows are named after a part."""
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

    Omitted are columns that were measured for no row, and `against` if all rows are compared with the same.
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
    """Return one GitHub table per group, with the best mAP under each schedule in bold."""
    parts, columns, bold = [], set[str](), False
    for title, part in groups(rows):
        text = study_text(part)
        columns |= set(text)
        best = ranked(part, 0)
        text.loc[best, "mAP"] = "**" + text.loc[best, "mAP"] + "**"
        bold |= bool(best)
        parted = named_after_parts(part)
        heads = HEADS | (_PART if parted else {})
        lines = [
            " · ".join([f"**{title}**", *filter(None, [held_against(part), _OF_PARTS * parted])]),
            "",
            markdown_table(
                [heads[column] for column in text],
                text.itertuples(index=False, name=None),
                words=[number for number, column in enumerate(text) if column in WORDS],
            ),
        ]
        parts.append("\n".join(lines))
    said = " ".join(filter(None, [notes.of(rows, columns), _BOLD.format(".") if bold else ""]))
    return "\n\n".join([*parts, said]) + "\n"


def study_latex(rows: pd.DataFrame, title: str, notes: TableWords) -> str:
    """Return one booktabs table per group, as wide as a page of two columns, with captions that are complete.

    Under each schedule the best mAP is bold, the second underlined; the ends of an interval are stacked behind its
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
        if "against" in text:  # two columns of names leave less room, and throughput only repeats the speed-up
            text, long = text.drop(columns="clips", errors="ignore"), "p{2.7cm}"
        forms = ["l" if column == "schedule" else long if column in WORDS else "r" for column in text]
        shown = list(text)
        parted = named_after_parts(part)
        heads = NARROW | (_PART if parted else {})
        text.columns = pd.Index([escape(heads[column]) for column in shown])
        bold = _BOLD.format("; underlined: the second.") if best else ""
        said = [f"{name}.", held_against(part), _OF_PARTS * parted, notes.of(part, set(shown), narrow=True), bold]
        caption = " ".join(filter(None, said))
        label = f"tab:{title}-{place}"
        parts.append(booktabs(text, forms, caption=escape(caption), label=label, most_lines=_MOST_LINES))
    return "\n".join(parts)


def _told_once(text: pd.DataFrame) -> pd.DataFrame:
    """Omit names that repeat those of the row above, so that a long name takes two lines only once."""
    names = [name for name in ("label", "against") if name in text]
    again = (text[names] == text[names].shift()).all(axis=1)
    told = text[names].map(lambda words: f"\\raggedright {words}").mask(again, "")
    starts = ~again & (told.index > 0)  # rows in which a model begins, set a little apart from the one before
    return text.assign(**told.assign(label=told["label"].mask(starts, "\\addlinespace " + told["label"])))


def _indexed(text: str) -> str:
    """Return escaped `value ± spread` with the spread as an index; other text unchanged."""
    value, found, spread = text.partition(" $\\pm$ ")
    return f"{value}$_{{\\pm {spread}}}$" if found else text
