"""Records -> the page: one HTML file that opens from disk and needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.page.facts import record_facts
from bench.page.library import packed_plotly, plotly_version
from bench.page.listening import listening
from bench.page.points import page_panels
from bench.records.schema import Record
from bench.records.store import read_records
from bench.report.drawing.style import COLOURS
from bench.report.frame import ReportError
from bench.report.tables.columns import DISTURBED_MEANS, MARKS, NOISY_MEANS
from fastast import __version__
from fastast.system.writing import write_whole

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    *("front", "address", "choices", "readings", "numbers", "groups", "labels"),  # functions of values
    *("forms", "plot_lines", "plot", "table", "record", "listen", "main"),  # what shows them
)
"""The page's own JavaScript in the order in which it is loaded."""
LIMIT = 6_000_000
"""Most bytes that a page may have: what a phone opens at once."""


def render_page(results: Path, out: Path) -> Path:
    """Write the page of all records below `results` to `out` and return it.

    The same records give the same bytes. Raises ReportError where there is no record, where records of a sweep cannot
    share one table, or where the page would have more bytes than `LIMIT`.
    """
    records = read_records(results) if results.is_dir() else []
    if not records:
        raise ReportError(f"page: no records in {results}; give a folder of results with --results")
    content = page_html(records, listening()).encode()
    if len(content) > LIMIT:
        raise ReportError(
            f"page: {len(records)} records take {len(content):,} bytes, more than the {LIMIT:,} of a page; "
            "give one machine's folder with --results"
        )
    write_whole(out, content)
    return out


def page_html(records: Sequence[Record], sounds: Mapping[str, Any]) -> str:
    """Return the page of records and of sounds, the latter from `listening`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {
        "panels": page_panels(records),
        "facts": record_facts(records),
        "marks": MARKS,
        "meanings": {"noisy": NOISY_MEANS, "disturbed": DISTURBED_MEANS},
        "colours": COLOURS,
    }
    return environment.get_template("page.html").render(
        style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        scripts=[(name, Markup((ASSETS / f"{name}.js").read_text(encoding="utf-8"))) for name in SCRIPTS],
        records=Markup(script_json(values)),
        sounds=Markup(script_json(sounds)),
        plotly=packed_plotly(),
        plotly_version=plotly_version(),
        credits=sounds["credits"],
        version=__version__,
        total=len(records),
        machines=len({record.machine.key for record in records}),
        sweeps=len({record.sweep for record in records}),
    )


def script_json(values: Any) -> str:
    """Return values as JSON that is safe in a script element: nothing in it ends the element or begins another."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain_value)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plain_value(value: Any) -> Any:
    """Return a NumPy scalar as a plain number, truth value or text."""
    return value.item()
