"""Show a comparison in the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare.found import SLOWER, Comparison
from bench.compare.statistics import probability_larger

HEADINGS = (
    "cell",
    "what",
    "machine",
    "samples",
    "A",
    "B",
    "B / A",
    "B / A of ratios",
    "Cliff's delta",
    "A12",
    "p (Holm)",
    "outcome",
)


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one dictionary per cell, for CSV and tables; cells without times first, then the slowest."""
    return [
        {
            "cell": row.cell,
            "what": row.title,
            "machine": row.machine,
            "samples_a": row.samples[0],
            "samples_b": row.samples[1],
            "median_a": row.median[0],
            "median_b": row.median[1],
            "unit": row.unit,
            "ratio": row.ratio.value,
            "ratio_low": row.ratio.low,
            "ratio_high": row.ratio.high,
            "relative": row.relative.value if row.relative else math.nan,
            "relative_low": row.relative.low if row.relative else math.nan,
            "relative_high": row.relative.high if row.relative else math.nan,
            "cliffs_delta": row.delta,
            "a12": probability_larger(row.delta),
            "p": row.p,
            "p_holm": row.p_corrected,
            "outcome": row.outcome,
        }
        for row in sorted(
            comparison.rows, key=lambda row: -math.inf if math.isnan(row.ratio.value) else -row.ratio.value
        )
    ]


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the table, the cells that only one side has, and what to keep in mind."""
    console = console or Console()
    shown = Table(*HEADINGS)
    styles = {**dict.fromkeys((*SLOWER, "broken"), "red"), "same": None, "faster": "green"}
    for row in comparison_rows(comparison):
        shown.add_row(*_words(row), style=styles.get(row["outcome"], "yellow"))
    if not console.is_terminal:
        console.width = max(console.width, 200)  # a file or a pipe has no width to keep to
    console.print(shown)
    for line in (*comparison.only, *comparison.notes, outcome_line(comparison)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def outcome_line(comparison: Comparison) -> str:
    """Return the outcome in one line."""
    said = f"{len(comparison.rows)} cells: {comparison.slower} slower in B, {comparison.count('faster')} faster in B"
    broken = f", {comparison.broken} broken in B" if comparison.broken else ""
    return said + broken + ("" if comparison.judged else "; no cell could be judged")


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per cell, numbers in full."""
    from fastast.system.writing import write_whole

    rows, buffer = comparison_rows(comparison), io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, buffer.getvalue().encode())


def write_comparison_markdown(comparison: Comparison, path: Path) -> None:
    """Write what the terminal shows as Markdown, for a pull request."""
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
        f"{row['samples_a']}, {row['samples_b']}",
        _written(f"{row['median_a']:.4g}{unit}"),
        _written(f"{row['median_b']:.4g}{unit}"),
        _written(f"{row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"),
        _written(f"{row['relative']:.3f} [{row['relative_low']:.3f}, {row['relative_high']:.3f}]"),
        _written(f"{row['cliffs_delta']:+.2f}"),
        _written(f"{row['a12']:.2f}"),
        f"{row['p_holm']:.2g}",
        row["outcome"],
    )


def _written(text: str) -> str:
    """Return a number as it is shown: a dash where there is none."""
    return "–" if "nan" in text else text
