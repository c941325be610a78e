"""A table of alternatives, as Markdown and as LaTeX (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.tables.latex import emphasised, escape, stacked
from bench.report.tables.latex_page import booktabs
from bench.report.tables.markdown import markdown_table

BETTER, WORSE = "▲", "▼"
"""Marks after a number whose difference to the reference has an interval that excludes zero."""
AT_LEAST = "≥ "
"""Mark before a number that may be larger, as the front was not measured further."""
_COMMANDS = ("textbf", "underline")
_BEST = "Bold: best of its column, underlined: second best"
_UNKNOWN = ", but in no column where a ≥ may be better"
_REFERENCE = "a name in bold: the reference"


@dataclass(frozen=True, kw_only=True)
class AblationTable:
    """A table with a title and a note on its numbers."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    unranked: tuple[str, ...] = ()
    """Heads of columns in which no value is better than another."""

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        lines = [
            f"**{self.title}**",
            "",
            markdown_table(self.heads, self.rows),
            "",
            self.note,
        ]
        return "\n".join(lines)

    def latex(self, where: str, label: str, facts: str = "") -> str:
        """Return the table in LaTeX (booktabs); the best of a column is bold, the second underlined (see `emphasis`).

        where: the machine and what ran on it. facts: what else a reader must know, at the end of the caption.
        """
        text = pd.DataFrame(self.rows, columns=list(self.heads))
        names, numbers = text.iloc[:, 0], text.iloc[:, 1:]
        cells, marked = numbers.map(_stacked), set[str]()
        for column in (head for head in numbers if head not in self.unranked):
            for place, command in emphasis(list(numbers[column])).items():
                cells.loc[place, column] = emphasised(str(cells.loc[place, column]), command)
                marked.add(command)
        cells.insert(0, text.columns[0], [_bold(name) for name in names])
        cells.columns = pd.Index([escape(head) for head in self.heads])
        caption = " ".join(filter(None, [f"{self.title}: {where}.", self.note, self._marks_mean(bool(marked)), facts]))
        return booktabs(cells, ["l", *["r"] * len(numbers.columns)], caption=escape(caption), label=label)

    def _marks_mean(self, marked: bool) -> str:
        """Return what bold and underlined mean in this table."""
        ranked = [place for place, head in enumerate(self.heads) if place and head not in self.unranked]
        unknown = any(row[place].startswith(AT_LEAST) for row in self.rows for place in ranked)
        named = any(row[0].startswith("**") for row in self.rows)
        said = [_BEST + _UNKNOWN * unknown] * marked + [_REFERENCE] * named
        return f"{'; '.join(said)}." if said else ""


def emphasis(cells: Sequence[str]) -> dict[int, str]:
    """Return the LaTeX commands for the best and second best cells of a column, by position; equal cells share theirs.

    A value that is only a lower bound is ranked if nothing else can be larger; otherwise nothing in the column is. The
    smallest value gets no command, nor does a gain of 1, as it makes nothing faster.
    """
    values = {place: value for place, text in enumerate(cells) if (value := _leading(text)) is not None}
    open_ended = [place for place in values if cells[place].startswith(AT_LEAST)]
    levels = sorted(set(values.values()), reverse=True)
    if len(open_ended) > 1 or any(values[place] < levels[0] for place in open_ended):
        return {}
    found: dict[int, str] = {}
    for level, command in zip(levels[:-1], _COMMANDS, strict=False):
        if len(found) < len(_COMMANDS):  # two equal best ones leave no second
            found |= {place: command for place, value in values.items() if value == level and cells[place] != "1"}
    return found


def _leading(text: str) -> float | None:
    """Return the number at the start of a cell, even if it is a lower bound; None if there is none."""
    found = re.match(r"(?:≥ )?([+−]?[0-9]+(?:[.][0-9]+)?)", text)
    return float(found.group(1).replace("−", "-")) if found else None


def _stacked(text: str) -> str:
    """Return a cell as LaTeX: the ends of its interval stacked, and its mark after them."""
    mark = text[-2:] if text.endswith((BETTER, WORSE)) else ""
    return stacked(escape(text.removesuffix(mark))) + escape(mark.strip())


def _bold(name: str) -> str:
    """Return a name from a Markdown table as LaTeX, in bold if it is so there."""
    found = re.fullmatch(r"[*][*](.*)[*][*]", name)
    return f"\\textbf{{{escape(found.group(1))}}}" if found else escape(name)
