"""Records of a sweep -> a folder of figures, tables and a page."""

from __future__ import annotations

import io
from pathlib import Path

from bench.records import Record
from bench.report.figures import merging_figure, pareto_figure
from bench.report.frame import join, problems
from bench.report.page import page
from bench.report.style import METADATA, paper_style
from bench.report.tables import tables
from bench.store import read_records, write_atomically

FORMATS = ("pdf", "svg", "png")


class ReportError(ValueError):
    """Nothing to report, or in no form that there is."""


def render(results: Path, out: Path, *, sweep: str, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Write `out/<sweep>/`: figures, `table.csv`, `table.md`, `table.tex` and `index.html`; return their paths.

    A figure that cannot be drawn (of speed alone there is no front) is left out and the page says why. Records that
    are not `ok` are listed on the page. Raises ReportError for no records or an unknown format.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ReportError(f"report: unknown format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    records = [record for record in read_records(results) if record.sweep == sweep] if results.is_dir() else []
    if not records:
        raise ReportError(f"report: no records of sweep {sweep!r} in {results}; run: nox -s bench -- --sweep {sweep}")
    return write_report(records, out / sweep, sweep=sweep, formats=formats)


def write_report(records: list[Record], folder: Path, *, sweep: str, formats: tuple[str, ...]) -> list[Path]:
    """Write the report of `records` into `folder` and return the paths."""
    joined = join(records)
    written, drawn = [], {}
    with paper_style():
        import matplotlib.pyplot as plt

        for name, draw in (("pareto", pareto_figure), ("merging", merging_figure)):
            try:
                figure = draw(joined.copy())
            except ValueError as error:
                drawn[name] = str(error)
                continue
            for form in dict.fromkeys((*formats, "svg")):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=form, metadata=METADATA[form])
                if form == "svg":
                    drawn[name] = buffer.getvalue().decode()
                if form in formats:
                    written.append(folder / f"{name}.{form}")
                    write_atomically(written[-1], buffer.getvalue())
            plt.close(figure)
    texts = tables(joined, sweep)
    texts["index.html"] = page(joined, drawn, texts, problems(records), records, sweep)
    for name, text in texts.items():
        written.append(folder / name)
        write_atomically(written[-1], text.encode())
    return written
