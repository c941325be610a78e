"""The tables of a report in LaTeX (booktabs)."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata

import numpy as np
import pandas as pd

from bench.report.panels import panels
from bench.report.tables import (
    DISTURBED,
    DISTURBED_MEANS,
    FEW_MEANS,
    NOISY,
    NOISY_MEANS,
    best_rows,
    columns_of,
    panel_name,
    readable,
    with_score,
)
from bench.report.words import FAILURES, NOT_MEASURED, facts_line, is_denominator, score_word

LATEX_COLUMNS: dict[str, str] = {
    "configuration": "Configuration",
    "r": "r",
    "tokens_out": "Tokens",
    "macs": "GMACs ↓",
    "throughput": "Clips/s ↑",
    "speedup": "Speed-up ↑",
    "oracle": "Of oracle ↑",
    "alone": "Over model ↓",
    "map": "{score} ↑",
    "delta": "Δ {score} ↑",
}
"""Heads of the columns of LaTeX tables."""
MEANS: dict[str, str] = {
    "tokens_out": "Tokens: those that leave the last block.",
    "speedup": "Speed-up: over the unmerged model, in interleaved rounds.",
    "oracle": "Of oracle: of the throughput of a model that drops as many tokens for free.",
    "alone": "Over model: time from waveforms over that of the model alone.",
    "delta": "Δ: paired difference to the unmerged model on the same clips.",
}
"""Meanings of columns, as short as a caption needs them."""
TRAINED = "Speed-up: of a training step, over that of the plain unmerged model, in interleaved rounds."
RANKS = "Bold: best of a column, underlined: second best."
SHORT = {NOT_MEASURED: "n.m.", FAILURES["oom"]: "OOM", FAILURES["timeout"]: "timeout"}
"""Abbreviations for narrow tables."""
MARKED = ((NOISY, NOISY_MEANS), (DISTURBED, DISTURBED_MEANS))
"""Marks before times, with their meanings."""
_CAPTION = "\\setlength{\\belowcaptionskip}{4pt}"
"""Space below the caption: the usual classes leave none between a caption and the table below it."""
_ROWS = "\\footnotesize\\setlength{\\tabcolsep}{2.7pt}\\renewcommand{\\arraystretch}{1.2}"
"""Columns closer than usual, and rows further apart, as the ends of intervals are stacked."""
_MOST_ROWS = 44
"""Most rows, of one line each, that fit on a page with their caption; a longer table is continued in another."""
_LETTERS = 50
"""Most characters of a name that fit on one line with its dagger."""
_COMMANDS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "“": "``", "”": "''", "’": "'", "…": "\\ldots{}", "–": "--",
    "−": "$-$", "±": "$\\pm$", "×": "$\\times$", "·": "$\\cdot$", "→": "$\\to$", "≤": "$\\le$",
    "≥": "$\\ge$", "∞": "$\\infty$", "²": "$^2$", "³": "$^3$", "°": "$^\\circ$", "µ": "$\\mu$",
    "↑": "$\\uparrow$", "↓": "$\\downarrow$", "▲": "$^{\\bigtriangleup}$", "▼": "$^{\\bigtriangledown}$",
    "✓": "$\\surd$",
    NOISY: "$\\approx$", DISTURBED: "$^\\ddagger$",
}  # fmt: skip
"""Commands for characters that LaTeX would interpret, or that its usual fonts lack."""
_LATIN = {
    "alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K", "mu": "M", "nu": "N",
    "omicron": "O", "rho": "P", "tau": "T", "upsilon": "Y", "chi": "X",
}  # fmt: skip
"""Greek letters whose capitals have no LaTeX command, as they look like Latin ones, with these."""


def latex(joined: pd.DataFrame, sweep: str) -> str:
    """Return one booktabs table per panel, for `\\usepackage{booktabs}`, as wide as a page of two columns.

    The best is bold, the second best underlined, and a dagger marks the Pareto front; the ends of an interval are
    printed below and above each other, behind the value.
    """
    parts = ["% Made from records; do not edit. Needs \\usepackage{booktabs}."]
    for place, (_, panel) in enumerate(panels(joined), 1):
        text = narrow(panel)
        gaps = [f"{short}: {long}." for long, short in SHORT.items() if (text == short).any(axis=None)]
        marks = [f"{mark}: {means}." for mark, means in MARKED if any(mark in cell for cell in text.to_numpy().flat)]
        columns = list(text.columns)
        ranked = bool(best_rows(panel))
        text = text.map(escape).map(stacked)
        for rank, command in ((0, "textbf"), (1, "underline")):
            for column, rows in best_rows(panel, rank).items():
                text.loc[rows, column] = [emphasised(cell, command) for cell in text.loc[rows, column]]
        front = (panel["standing"] == "front").to_numpy()
        text.loc[front, "configuration"] += "$^\\dagger$"
        text["configuration"] = text["configuration"].map(in_two_lines)
        word = score_word(panel)
        text.columns = pd.Index([escape(with_score(LATEX_COLUMNS[column], word)) for column in text.columns])
        facts = f"{panel_name(panel)}. {facts_line(panel)}, their ends below and above."
        dagger = ["Dagger: on the Pareto front."] if front.any() else []
        caption = " ".join([facts, *_meanings(panel, columns), *[RANKS] * ranked, *dagger, *marks, *gaps])
        form = "l" + "r" * (len(columns) - 1)
        parts.append(booktabs(text, form, caption=caption, label=f"tab:{sweep}-{place}"))
    return "\n".join(parts)


def _meanings(panel: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the meanings of the columns of a panel's table, and why some speed-ups have no interval."""
    means = MEANS | ({"speedup": TRAINED} if panel["scope"].iloc[0] == "training_step" else {})
    others = panel[~panel.apply(is_denominator, axis=1).astype(bool)]
    few = others["speedup_unmerged"].notna() & others["speedup_unmerged_low"].isna()
    return [*(text for name, text in means.items() if name in columns), *[FEW_MEANS] * bool(few.any())]


def booktabs(text: pd.DataFrame, columns: str, *, caption: str, label: str, most_rows: int = _MOST_ROWS) -> str:
    """Return a table of LaTeX cells, as wide as a page of two columns; `caption` is plain text.

    A table of more than `most_rows`, which would not fit on a page, is split into tables of about the same length, each
    of which begins with a row that has a name.
    """
    parts = math.ceil(len(text) / most_rows)
    named = np.flatnonzero(text.iloc[:, 0] != "")
    ideal = [round(part * len(text) / parts) for part in range(1, parts)]
    cuts = [0, *(int(named[np.abs(named - place).argmin()]) for place in ideal), len(text)]
    title = f"{caption.partition('. ')[0]}, continued."
    pages = [text.iloc[start:end] for start, end in itertools.pairwise(cuts)]
    captions = [caption, *[title] * (len(pages) - 1)]
    labels = [label, *(f"{label}-{number}" for number in range(2, len(pages) + 1))]
    return "".join(_float(*page, columns) for page in zip(pages, captions, labels, strict=True))


def _float(text: pd.DataFrame, caption: str, label: str, columns: str) -> str:
    body = text.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=f"@{{}}{columns}@{{}}",
        caption=escape(caption),
        label=label,
        position="t",
        position_float="centering",
    )
    body = body.replace("{table}", "{table*}").replace("\\caption", f"{_CAPTION}\n\\caption", 1)
    return body.replace("\\begin{tabular}", f"{_ROWS}\n\\begin{{tabular}}", 1)


def narrow(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `readable` that a page of two columns has room for."""
    return readable(panel)[[name for name in LATEX_COLUMNS if name in columns_of(panel)]].replace(SHORT)


def emphasised(text: str, command: str) -> str:
    """Return a LaTeX cell with its value in bold or underlined, but not the interval that follows as an index."""
    value, mark, index = text.partition("$_{")
    return f"\\{command}{{{value}}}{mark}{index}"


def stacked(text: str) -> str:
    """Return escaped `value [low, high]` with the ends as sub- and superscript of the value; other text unchanged."""
    found = re.fullmatch(r"(.*\S) \[(\S+), (\S+)\]", text)
    if found is None:
        return text
    value, low, high = found.group(1), *(end.replace("$-$", "-") for end in found.groups()[1:])
    return f"{value}$_{{{low}}}^{{{high}}}$"


def in_two_lines(name: str) -> str:
    """Split a name that would make its column too wide into two lines, at the comma nearest to its middle."""
    if len(name) <= _LETTERS or ", " not in name:
        return name
    commas = [found.end() for found in re.finditer(", ", name)]
    at = min(commas, key=lambda end: abs(end - len(name) / 2))
    return f"\\begin{{tabular}}{{@{{}}l@{{}}}}{name[:at].rstrip()}\\\\ {name[at:]}\\end{{tabular}}"


def escape(text: str) -> str:
    """Return text as LaTeX, Greek letters included, for any engine with its default fonts."""
    return "".join(_COMMANDS.get(character) or _greek(character) or character for character in text)


def _greek(character: str) -> str:
    """Return the LaTeX command of a Greek letter, or the Latin letter that a capital looks like; else empty text."""
    found = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (FINAL )?(\w+)", unicodedata.name(character, ""))
    if found is None:
        return ""
    case, final, name = found.groups()
    name = {"LAMDA": "lambda"}.get(name, name.lower())
    if case == "SMALL":
        return "o" if name == "omicron" else f"$\\{'var' if final else ''}{name}$"
    return _LATIN.get(name) or f"$\\{name.capitalize()}$"
