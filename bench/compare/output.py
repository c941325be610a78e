"""How a comparison is shown: in the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare.comparison import Comparison
from bench.compare.samples import NOT_JUDGED
from bench.compare.statistics import probability_larger

HEADINGS = ("cell", "what", "machine", "rounds", "A", "B", "B / A", "Cliff's delta", "A12", "p (Holm)", "outcome")


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one dictionary a cell, for CSV and tables; slowest first."""
    return [
        {
            "cell": row.cell,
            "what": row.title,
            "machine": row.machine,
            "rounds_a": row.rounds[0],
            "rounds_b": row.rounds[1],
            "median_a": row.median[0],
            "median_b": row.median[1],
            "unit": row.unit,
            "ratio": row.ratio.value,
            "ratio_low": row.ratio.low,
            "ratio_high": row.ratio.high,
            "cliffs_delta": row.delta,
            "a12": probability_larger(row.delta),
            "p": row.p,
            "p_holm": row.p_corrected,
            "outcome": row.outcome,
        }
        for row in sorted(comparison.rows, key=lambda row: -row.ratio.value)
    ]


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the table, the cells of one side only and what to keep in mind."""
    console = console or Console()
    shown = Table(*HEADINGS)
    styles = {"slower": "red", "faster": "green"} | dict.fromkeys(("too few rounds", *NOT_JUDGED), "yellow")
    for row in comparison_rows(comparison):
        shown.add_row(*_words(row), style=styles.get(row["outcome"]))
    if not console.is_terminal:
        console.width = max(console.width, 200)  # a file or a pipe has no width to keep to
    console.print(shown)
    for line in (*comparison.only, *comparison.notes, outcome_line(comparison)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def outcome_line(comparison: Comparison) -> str:
    """Return the outcome in one line."""
    counts = {name: sum(row.outcome == name for row in comparison.rows) for name in ("slower", "faster")}
    return f"{len(comparison.rows)} cells: {counts['slower']} slower in B, {counts['faster']} faster in B"


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per cell, numbers in full."""
    from fastast.system.writing import write_whole

    rows, buffer = comparison_rows(comparison), io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, buffer.getvalue().encode())


def write_comparison_markdown(comparison: Comparison, path: Path) -> None:
    """Write the table of the terminal for a pull request."""
    from fastast.system.writing import write_whole

    lines = [f"| {' | '.join(HEADINGS)} |", "|" + " --- |" * len(HEADINGS)]
    lines += [
        f"| {' | '.join(word.replace('|', '/') for word in _words(row))} |" for row in comparison_rows(comparison)
    ]
    lines += ["", *(f"- {line}" for line in (*comparison.only, *comparison.notes)), "", outcome_line(comparison)]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def _words(row: dict[str, Any]) -> tuple[str, ...]:
    unit = "" if row["unit"] == "ratio" else f" {row['unit']}"
    return (
        row["cell"],
        row["what"],
        row["machine"],
        f"{row['rounds_a']}, {row['rounds_b']}",
        f"{row['median_a']:.4g}{unit}",
        f"{row['median_b']:.4g}{unit}",
        f"{row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]",
        f"{row['cliffs_delta']:+.2f}",
        f"{row['a12']:.2f}",
        f"{row['p_holm']:.2g}",
        row["outcome"],
    )
