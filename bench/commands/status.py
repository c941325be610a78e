"""`python -m bench status`: how far a sweep is."""

from __future__ import annotations

import typer

from bench.command_line import for_people
from bench.commands.cells import cells_of
from bench.commands.options import RESULTS, ResultsOption, SweepArgument, SweepSetOption


def status(sweep: SweepArgument, overrides: SweepSetOption = None, results: ResultsOption = RESULTS) -> None:
    """Print how many cells of a sweep are done, failed and left, on every machine that has records of it."""
    with for_people():
        from bench.run.status import status_lines
        from bench.sweep.engines import ANY
        from bench.sweep.file import find_sweep
        from bench.sweep.listing import listing_of, place_of, remember, remembered

        path = find_sweep(sweep)
        listing = remembered(path, overrides or ())
        if listing is None:
            place = place_of(path, overrides or ())
            config, cells = cells_of(sweep, overrides, lambda device: device if device == "cpu" else ANY)
            listing = listing_of(config, cells)
            remember(path, overrides or (), listing, place)
        for line in status_lines(listing.name, listing.cells, results):
            typer.echo(line)
