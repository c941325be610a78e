"""`python -m bench gather`: records of several machines in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.command_line import for_people
from bench.commands.options import RESULTS

Keep = Literal["ours", "theirs", "newer"]
"""As in `bench.records.gather`, which is not imported because it needs pydantic."""


def gather(
    sources: Annotated[list[Path], typer.Argument(help="Folders of results, or of one machine or sweep in them.")],
    into: Annotated[Path, typer.Option(help="Root folder of results to gather into.")] = RESULTS,
    keep: Annotated[
        Keep | None, typer.Option(help="Which record to keep if two of the same cell and machine differ.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
) -> None:
    """Copy the records of other machines into one folder of results. A different record is replaced only by --keep."""
    with for_people():
        from bench.records.gather import gather_results

        result = gather_results(sources, into, keep=keep, dry_run=dry_run)
        for line in result.lines():
            typer.echo(line)


def merge_is_gather_now() -> None:
    """Print the new name of the command."""
    typer.echo("bench: merge is now called gather: python -m bench gather SOURCES... --into RESULTS", err=True)
    raise typer.Exit(2)
