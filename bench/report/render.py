"""Records of a sweep -> a folder of figures, tables and a page."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records.schema import Record
from bench.records.store import each_record
from bench.report.figures import merging_figure, pareto_figure
from bench.report.frame import ReportError, join, problems
from bench.report.latex import latex
from bench.report.page import page
from bench.report.published import published, published_markdown
from bench.report.style import METADATA, paper_style
from bench.report.tables import markdown
from fastast.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
OPERATING_POINTS = 4
"""How many merged configurations per panel a README shows."""


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but for line breaks and tabs, and those that change the direction of text."""

__all__ = ["FORMATS", "ReportError", "render", "write_report"]


def render(results: Path, out: Path, *, sweep: str, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Write figures, tables and the page `index.html` to `out/<sweep>/`; return their paths.

    A figure that cannot be drawn (of speed alone there is no front) is left out and the page says why. Records that
    are not `ok` are listed on the page. Raises ReportError for no records, an unknown format, or records that cannot
    stand in one table.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ReportError(f"report: unknown format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    records = [record for record in each_record(results) if record.sweep == sweep] if results.is_dir() else []
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
                for form in FORMATS:  # one of an earlier report would pass for one of this
                    (folder / f"{name}.{form}").unlink(missing_ok=True)
                continue
            for form in dict.fromkeys((*formats, "svg")):
                content = figure_file(figure, form)
                if form == "svg":
                    drawn[name] = content.decode()
                if form in formats:
                    written.append(folder / f"{name}.{form}")
                    write_whole(written[-1], content)
            plt.close(figure)
    texts = {
        "table.csv": joined.to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(joined),
        "brief.md": markdown(joined, most=OPERATING_POINTS),
        "table.tex": latex(joined, sweep),
    }
    if figures := published(sweep):
        texts["published.md"] = published_markdown(figures, joined)
    texts["index.html"] = page(joined, drawn, texts, problems(records), records, sweep)
    for name, text in texts.items():
        written.append(folder / name)
        write_whole(written[-1], _printable(text).encode())
    return written


def figure_file(figure: Figure, form: str) -> bytes:
    """Return a figure as a file. Text in SVG stays text, in whatever font of the width of DejaVu there is."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=METADATA[form])
    content = buffer.getvalue()
    if form != "svg":
        return content
    return (
        _printable(content.decode())
        .encode()
        .replace(b"font-family: 'DejaVu Sans'", b"font-family: 'DejaVu Sans', Verdana, Arial, sans-serif")
    )


def _printable(text: str) -> str:
    """Return text in which names of files cannot steer a terminal, or turn what stands beside them around."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
