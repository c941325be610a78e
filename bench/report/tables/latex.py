"""The tables of a report in LaTeX (booktabs)."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from bench.report.panels import panels
from bench.report.tables.cells import best_rows, panel_name, readable
from bench.report.tables.columns import (
    DISTURBED,
    DISTURBED_MEANS,
    FEW_MEANS,
    NOISY,
    NOISY_MEANS,
    columns_of,
    with_score,
)
from bench.report.tables.latex_page import above_each_other, booktabs, in_lines, room_for_names
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
        word = score_word(panel)
        heads = [with_score(LATEX_COLUMNS[column], word) for column in columns]
        room = room_for_names(text.set_axis(heads, axis=1))
        front = panel["standing"] == "front"
        names = [
            above_each_other([*map(escape, in_lines(name, room))], "$^\\dagger$" * on_front)
            for name, on_front in zip(text["configuration"], front, strict=True)
        ]
        text = text.map(escape).map(stacked).assign(configuration=names)
        for rank, command in ((0, "textbf"), (1, "underline")):
            for column, rows in best_rows(panel, rank).items():
                text.loc[rows, column] = [emphasised(cell, command) for cell in text.loc[rows, column]]
        text.columns = pd.Index(map(escape, heads))
        facts = f"{panel_name(panel)}. {facts_line(panel)}, their ends below and above."
        dagger = ["Dagger: on the Pareto front."] if front.any() else []
        caption = " ".join([facts, *_meanings(panel, columns), *[RANKS] * ranked, *dagger, *marks, *gaps])
        forms = ["l", *["r"] * (len(columns) - 1)]
        parts.append(booktabs(text, forms, caption=escape(caption), label=f"tab:{sweep}-{place}"))
    return "\n".join(parts)


def _meanings(panel: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the meanings of the columns of a panel's table, and why some speed-ups have no interval."""
    means = MEANS | ({"speedup": TRAINED} if panel["scope"].iloc[0] == "training_step" else {})
    others = panel[~panel.apply(is_denominator, axis=1).astype(bool)]
    few = others["speedup_unmerged"].notna() & others["speedup_unmerged_low"].isna()
    return [*(text for name, text in means.items() if name in columns), *[FEW_MEANS] * bool(few.any())]


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
