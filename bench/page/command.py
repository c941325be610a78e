"""`python -m bench page`: all records as one page to explore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people


def explore(
    results: Annotated[Path, typer.Option("--results", help="Folder of results, all of them or one machine's.")] = Path(
        "results"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("build/page.html"),
) -> None:
    """Write one HTML file to explore records: a Pareto plot, a table, the record of each number, sounds and merges."""
    with for_people():
        from bench.page.render import render_page

        page = render_page(results, out)
        typer.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
