"""The part of the README that shows results, which code writes and nobody edits by hand."""

from __future__ import annotations

from pathlib import Path

from bench.marks import around_marks
from fastast.system.writing import write_whole

END = "<!-- end of results -->"


class ReadmeError(ValueError):
    """A README has no place for results."""


def update_readme(readme: Path, report: Path, *, sweep: str) -> None:
    """Put a sweep's operating points between the marks `<!-- results: SWEEP -->` and `<!-- end of results -->`.

    report: the rendered folder. Raises ReadmeError unless the README has each mark exactly once.
    """
    text = readme.read_text(encoding="utf-8")
    begin = f"<!-- results: {sweep} -->"
    around = around_marks(text, begin, END)
    if around is None:
        raise ReadmeError(f"{readme}: needs the lines {begin!r} and {END!r}, each once, for the results between them")
    write_whole(readme, f"{around[0]}\n{section(report)}{around[1]}".encode())


def section(report: Path) -> str:
    """Return the brief table of a rendered folder in Markdown, with paths relative to the repository's root."""
    table = (report / "brief.md").read_text(encoding="utf-8")
    whole = (
        f"[All rows](reports/{report.name}/table.md), [as CSV](reports/{report.name}/table.csv), and "
        f"[more figures](reports/{report.name})."
    )
    return f"{table.rstrip()}\n\n{whole}\n\n"
