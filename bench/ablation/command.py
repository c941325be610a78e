"""`python -m bench ablation` and `thin`: report on a sweep of alternatives, and make its records small."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people


def ablation(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep, such as ablation_methods.")],
    results: Annotated[
        Path, typer.Option("--results", help="Root folder of results; the published ones are in results.")
    ] = Path("build/results"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("build/reports"),
) -> None:
    """Compare the alternatives of a sweep: options on one axis with the default marked, or methods at equal speed.

    OUT/SWEEP gets the tables and figures of every machine in the results: ablation.md, ablation.tex and ablation.csv;
    where alternatives have speeds, fronts.svg, .pdf and .png; and where methods are scored by mAP at several r,
    classes.svg, .pdf and .png.
    """
    with for_people():
        from bench.ablation.render import render_ablation

        for path in render_ablation(results, out, sweep=sweep):
            typer.echo(path)


def thin_sweep(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep, such as ablation_methods.")],
    results: Annotated[Path, typer.Option("--results", help="Root folder of results.")] = Path("build/results"),
) -> None:
    """Replace the predictions of a sweep of alternatives by what its tables are computed from, a fiftieth in size.

    Predictions for single clips survive only for the unmerged model and, where methods have several r, for the
    reference: keep a copy elsewhere.
    """
    with for_people():
        from bench.ablation.thin import thin

        found = thin(results, sweep)
        typer.echo(
            f"{found.replaced} predictions replaced, {found.kept} left as they were: "
            f"{found.before / 1e6:.1f} MB before, {found.after / 1e6:.1f} MB now"
        )
