"""The list of published reports in `docs/ablations.md`, which code writes between two marks."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from bench.ablation.published import PREFIX
from bench.marks import around_marks
from bench.report.frame import ReportError
from fastast.system.writing import write_whole

BEGIN, END = "<!-- published: written by python -m bench render -->", "<!-- end of published -->"
_OTHERS = {
    "understanding/understanding.md": "what methods merge, drawn",
    "tuning/tuning.md": "schedules that `fastast tune` found",
}
"""Reports other than those of sweeps, with what they show."""


def update_overview(page: Path, reports: Path) -> None:
    """Put a line per report of alternatives between the marks of a page. Raises ReportError unless it has each once."""
    text = page.read_text(encoding="utf-8")
    around = around_marks(text, BEGIN, END)
    if around is None:
        raise ReportError(
            f"{page}: needs the lines {BEGIN!r} and {END!r}, each once, for the list of reports between them"
        )
    new = f"{around[0]}\n{overview(page, reports)}{around[1]}"
    if new != text:
        write_whole(page, new.encode())


def overview(page: Path, reports: Path) -> str:
    """Return the list as Markdown, with paths relative to the page."""
    lines = []
    for path in sorted(reports.glob(f"{PREFIX}*/ablation.md")):
        frame = pd.read_csv(path.with_suffix(".csv"), keep_default_na=False)
        groups = frame[["machine", "model"]].drop_duplicates().sort_values(["machine", "model"])
        of = "; ".join(f"{row['model']} on {row['machine']}" for _, row in groups.iterrows())
        lines.append(f"- [{path.parent.name}]({_from(page, path)}), [every number]({_from(page, path, 'csv')}): {of}")
    for name, what in _OTHERS.items():
        if (reports / name).is_file():
            lines.append(f"- [{name.partition('/')[0]}]({_from(page, reports / name)}): {what}")
    return "\n" + "\n".join(lines or ["None yet."]) + "\n\n"


def _from(page: Path, path: Path, kind: str = "md") -> str:
    return Path(os.path.relpath(path.with_suffix(f".{kind}"), page.parent)).as_posix()
