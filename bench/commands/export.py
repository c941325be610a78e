"""`python -m bench export`: records as one CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people
from bench.commands.options import RESULTS, ResultsOption


def export(
    results: ResultsOption = RESULTS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The CSV file to write. Not given: cells.csv in --results.")
    ] = None,
) -> None:
    """Write a CSV file with one row for every record below a folder."""
    with for_people():
        from bench.records.store import record_paths
        from bench.records.table import write_rows
        from bench.sweep.complaints import ConfigError

        if not any(record_paths(results)):
            raise ConfigError([f"{results}: no records below this folder; nothing was written"])
        out = out or results / "cells.csv"
        typer.echo(f"{write_rows(results, out)} records written to {out}")
