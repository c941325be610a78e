"""Tables in GitHub's Markdown, of a report and of anything else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from bench.report.panels import panels
from bench.report.tables.cells import best_rows, brief, panel_name, readable
from bench.report.tables.columns import WORDS, columns_of, explain
from bench.report.words import facts_line


def markdown(joined: pd.DataFrame, *, most: int | None = None, about: str = "") -> str:
    """Return one GitHub table per panel, with the best of each column in bold.

    most: see `brief`; without it tables are whole. about: text at the end.
    """
    parts = []
    shown = [whole if most is None else brief(whole, most) for _, whole in panels(joined)]
    for panel in shown:
        text, best, heads = readable(panel), best_rows(panel), columns_of(panel)
        for column, rows in best.items():
            text.loc[rows, column] = [f"**{cell}**" for cell in text.loc[rows, column]]
        lines = [
            f"**{in_markdown(panel_name(panel))}**",
            "",
            markdown_table(
                tuple(heads.values()),
                ([*map(in_markdown, values)] for values in text.itertuples(index=False, name=None)),
                words=[number for number, column in enumerate(heads) if column in WORDS],
            ),
        ]
        parts.append("\n".join(lines))
    said = [f"{in_markdown(facts_line(joined))}.", *explain(pd.concat(shown)), in_markdown(about)]
    return "\n\n".join([*parts, " ".join(filter(None, said))]) + "\n"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[int] = (0,)) -> str:
    """Return a table. `words`: indices of columns of text, which are aligned left; numbers are aligned right."""
    lines = [heads, *rows]
    rule = "".join("---|" if column in words else "---:|" for column in range(len(heads)))
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{rule}", *body])


def in_markdown(text: str) -> str:
    """Escape text for Markdown, so that nothing in it is a tag or the end of a cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
