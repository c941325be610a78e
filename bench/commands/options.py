"""Arguments and options shared by several commands: one spelling, one meaning, one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import completion

RESULTS, REPORTS = Path("build/results"), Path("build/reports")
"""Default output folders. Published records are copied to `results`, and their reports rendered to `reports`."""

SweepArgument = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or the name of one in bench/sweeps, such as default.", autocompletion=completion.sweep_names
    ),
]
SweepSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override a value of the sweep, in TOML, such as grid.r=[4]; repeatable.",
    ),
]
CacheOption = Annotated[
    Path | None, typer.Option(help="Folder for clips and features. Not given: FASTAST_CACHE, or your cache folder.")
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help="Start only cells that are expected to end within this many minutes; print those left."),
]
ResultsOption = Annotated[Path, typer.Option(help="Root folder of results; the published ones are in results.")]
