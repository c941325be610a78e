"""`python -m bench run`: measure the cells of a sweep."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import completion
from bench.command_line import command_line, for_people
from bench.commands.cells import cells_of
from bench.commands.options import RESULTS, CacheOption, MinutesOption, ResultsOption, SweepArgument, SweepSetOption

if TYPE_CHECKING:
    from bench.sweep.cells import Cell


def run(
    sweep: SweepArgument,
    overrides: SweepSetOption = None,
    results: ResultsOption = RESULTS,
    cache: CacheOption = None,
    minutes: MinutesOption = None,
    redo: Annotated[bool, typer.Option("--redo", help="Also measure cells again that have a record.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also measure cells again whose record is not ok.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells and stop.")] = False,
    reports: Annotated[Path | None, typer.Option(help="Draw the report into this folder when done.")] = None,
    launcher: Annotated[
        str,
        typer.Option(
            metavar="local|ray|slurm",
            help="Where cells run: here, on Ray, or on Slurm.",
            autocompletion=completion.launcher_names,
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray: a cluster's address, or auto. Not given: RAY_ADDRESS, or a Ray that is started here."),
    ] = None,
    ray_resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE=NAME", help="Ray: only nodes with this resource get the device's cells; repeatable."
        ),
    ] = None,
    ray_wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Ray: end the run when a device has had no node for this many seconds. Not given: 600."
        ),
    ] = None,
    slurm_config: Annotated[
        Path | None, typer.Option(help="Slurm: a TOML file with the partition and resources of each device.")
    ] = None,
) -> None:
    """Measure every cell of a sweep that has no record yet. After an interruption, the same command resumes."""
    with for_people(), ExitStack() as stack:
        from bench.run.launchers.choose import choose_launcher

        place = stack.enter_context(
            choose_launcher(
                launcher,
                cache=cache,
                ray_address=ray_address,
                ray_resources=tuple(ray_resource or ()),
                ray_wait_s=ray_wait,
                slurm_config=slurm_config,
                minutes=minutes,
            )
        )
        from bench.run.driver import Options, run_sweep
        from bench.run.progress import Progress
        from bench.run.settled import keep_in_mind, settled
        from bench.sweep.file import find_sweep
        from bench.sweep.listing import place_of
        from fastast.data.soundscapes.cache import default_folder

        options = Options(
            results=results,
            cache=cache or default_folder(),
            redo=redo,
            retry_failed=retry_failed,
            command=command_line(sys.argv[1:]),
        )
        path, here = find_sweep(sweep), launcher == "local"
        with Progress() as progress:
            found = settled(path, overrides or (), options, progress) if here and not (redo or dry_run) else None
            if found is None:
                listed = place_of(path, overrides or ())
                config, cells = cells_of(sweep, overrides, place.resolve, here=here)
                if dry_run:
                    _list(cells)
                    return
                summary = run_sweep(config.name, cells, options, progress=progress, launcher=place)
                if here:
                    keep_in_mind(path, overrides or (), config, cells, summary, listed)
                found = config.name, summary
        name, summary = found
        for cell in summary.left:
            typer.echo(f"left: {cell.id}  {cell.title}")
        typer.echo(str(summary))
        if reports is not None:
            from bench.report import render

            typer.echo(f"report: {render(results, reports, sweep=name)[-1]}")
        if summary.failed:
            raise typer.Exit(1)


def _list(cells: Sequence[Cell]) -> None:
    typer.echo("\n".join(f"{cell.id}  {cell.title}" for cell in cells))
    kinds = Counter(cell.kind for cell in cells)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    typer.echo(f"{len(cells)} cells: {listed}")
