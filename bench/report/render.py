"""Render the records of a sweep to a folder of figures, tables and a page."""

from __future__ import annotations

from pathlib import Path

from bench.records.schema import Record
from bench.records.store import each_record
from bench.report.beside import beside_report
from bench.report.drawing.files import FORMATS, printable, write_figures
from bench.report.drawing.style import DOUBLE, WIDTHS
from bench.report.figures import draws
from bench.report.frame import ReportError, join, problems
from bench.report.loading import loading_text
from bench.report.page import page
from bench.report.published.figures import published, published_markdown
from bench.report.tables.latex import latex
from bench.report.tables.markdown import markdown
from bench.sweep.file import load_sweep
from fastast.names import unknown_name
from fastast.system.writing import write_whole

OPERATING_POINTS = 4
"""Most merged configurations that a README shows per panel."""


__all__ = ["FORMATS", "ReportError", "render", "write_report"]


def render(
    results: Path, out: Path, *, sweep: str, formats: tuple[str, ...] = FORMATS, width: str = "double"
) -> list[Path]:
    """Write figures, tables and the page `index.html` to `out/<sweep>/`; return their paths.

    A figure that cannot be drawn (speed alone makes no front) is left out, and the page says why. The page also lists
    the records that are not `ok`, and shows and links what `bench ablation` has written to the folder. sweep: a name or
    a file. width: of figures, `single` or `double` for one or two columns of a paper. Raises ReportError if there are
    no records, for an unknown format or width, and for records that cannot share one table.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ReportError(f"report: unknown format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    if width not in WIDTHS:
        raise ReportError(f"report: {unknown_name('width', width, tuple(WIDTHS))}")
    sweep = load_sweep(Path(sweep)).name if sweep.endswith(".toml") else sweep
    records, others = [], set[str]()
    for record in each_record(results) if results.is_dir() else ():
        others.add(record.sweep)
        records += [record] if record.sweep == sweep else []
    if not records:
        there = f"; there are records of {', '.join(sorted(others))}" if others else ""
        raise ReportError(
            f"report: no records of sweep {sweep!r} in {results}{there}; run: nox -s bench -- --sweep {sweep}"
        )
    return write_report(records, out / sweep, sweep=sweep, formats=formats, width=WIDTHS[width])


def write_report(
    records: list[Record], folder: Path, *, sweep: str, formats: tuple[str, ...], width: float = DOUBLE
) -> list[Path]:
    """Write the report of `records` to `folder`, with figures `width` inches wide, and return the paths."""
    joined = join(records)
    drawn = write_figures(draws(joined, width), folder, formats=formats)
    written = list(drawn.paths)
    texts = {
        "table.csv": joined.to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(joined, about=loading_text(records)),
        "brief.md": markdown(joined, most=OPERATING_POINTS),
        "table.tex": latex(joined, sweep),
    }
    if figures := published(sweep):
        texts["published.md"] = published_markdown(figures, joined)
    else:
        (folder / "published.md").unlink(missing_ok=True)
    both = {**drawn.svgs, **drawn.reasons}
    texts["index.html"] = page(joined, both, texts, problems(records), records, sweep, beside_report(folder))
    for name, text in texts.items():
        written.append(folder / name)
        write_whole(written[-1], printable(text).encode())
    return written
