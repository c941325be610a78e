"""`python -m bench profile`: where the time of cells goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import completion
from bench.command_line import for_people
from bench.commands.cells import cells_of
from bench.commands.options import SweepArgument, SweepSetOption


def profile(
    sweep: SweepArgument,
    cell: Annotated[
        str | None,
        typer.Argument(
            help="ID of a performance cell, or a prefix of one.",
            autocompletion=lambda ctx, incomplete: completion.cell_ids(ctx.params["sweep"], incomplete),
        ),
    ] = None,
    overrides: SweepSetOption = None,
    r: Annotated[
        int | None, typer.Option("--r", help="Profile cells that remove this many tokens per block; 0: unmerged.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Profile cells with this schedule: constant, or constant:40.")
    ] = None,
    forwards: Annotated[int, typer.Option(min=1, help="Number of forwards to profile.")] = 10,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for traces and tables.")] = Path("build/profiles"),
) -> None:
    """Show where a cell's time goes: traces for TensorBoard and Perfetto, CSV tables by operator and block."""
    with for_people():
        config, cells = cells_of(sweep, overrides, here=True)
        from bench.profiling.select import select_cells
        from bench.profiling.show import profile_cells

        profile_cells(select_cells(cells, cell, r=r, schedule=schedule), out / config.name, forwards=forwards)
