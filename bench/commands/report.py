"""`python -m bench report`: figures and tables of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people
from bench.commands.options import REPORTS, RESULTS, ResultsOption


def report(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")] = "default",
    results: ResultsOption = RESULTS,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = REPORTS,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Format of the figures: pdf, svg, png; repeatable.")
    ] = None,
    width: Annotated[
        str, typer.Option(metavar="single|double", help="Width of the figures, in columns of a paper.")
    ] = "double",
    readme: Annotated[Path | None, typer.Option(help="A README whose results section is replaced.")] = None,
) -> None:
    """Draw figures and tables from the records of a sweep."""
    with for_people():
        from bench.report import render as render_report

        chosen = tuple(formats or ("pdf", "svg", "png"))
        for path in render_report(results, out, sweep=sweep, formats=chosen, width=width):
            typer.echo(path)
        if readme is not None:
            from bench.report.readme import update_readme

            update_readme(readme, out / sweep, sweep=sweep)
