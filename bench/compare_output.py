"""How a comparison is shown: in the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare import Comparison, table

HEADINGS = ("cell", "what", "machine", "rounds", "A", "B", "B / A", "Cliff's delta", "p (Holm)", "outcome")


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the table, the cells of one side only and what to keep in mind."""
    console = console or Console()
    shown = Table(*HEADINGS)
    styles = {"slower": "red", "faster": "green", "too few rounds": "yellow"}
    for row in table(comparison):
        shown.add_row(*_words(row), style=styles.get(row["outcome"]))
    if not console.is_terminal:
        console.width = max(console.width, 200)  # a file or a pipe has no width to keep to
    console.print(shown)
    for line in (*comparison.only, *comparison.notes, summary(comparison)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(comparison: Comparison) -> str:
    """Return the outcome in one line."""
    counts = {name: sum(row.outcome == name for row in comparison.rows) for name in ("slower", "faster")}
    return f"{len(comparison.rows)} cells: {counts['slower']} slower in B, {counts['faster']} faster in B"


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one row a cell, numbers in full."""
    from bench.store import write_atomically

    rows, buffer = table(comparison), io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode())


def write_markdown(comparison: Comparison, path: Path) -> None:
    """Write the table of the terminal for a pull request."""
    from bench.store import write_atomically

    lines = [f"| {' | '.join(HEADINGS)} |", "|" + " --- |" * len(HEADINGS)]
    lines += [f"| {' | '.join(word.replace('|', '/') for word in _words(row))} |" for row in table(comparison)]
    lines += ["", *(f"- {line}" for line in (*comparison.only, *comparison.notes)), "", summary(comparison)]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _words(row: dict[str, Any]) -> tuple[str, ...]:
    unit = " ms" if row["unit"] == "ms" else ""
    return (
        row["cell"],
        row["what"],
        row["machine"],
        f"{row['rounds_a']}, {row['rounds_b']}",
        f"{row['median_a']:.4g}{unit}",
        f"{row['median_b']:.4g}{unit}",
        f"{row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]",
        f"{row['cliffs_delta']:+.2f}",
        f"{row['p_holm']:.2g}",
        row["outcome"],
    )
