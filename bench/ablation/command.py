"""`python -m bench ablation` and `thin`: the report of a sweep of alternatives, and its records made small."""

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
    """Compare the alternatives of a sweep: one axis with the chosen option marked, or methods at equal speed.

    Every machine of the results has its tables and its figure in OUT/SWEEP: ablation.md, ablation.tex and ablation.csv,
    and where alternatives have speeds fronts.svg, .pdf and .png.
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

    What a model said of single clips is lost but for the unmerged model and the reference: keep a copy elsewhere.
    """
    with for_people():
        from bench.ablation.thin import thin

        found = thin(results, sweep)
        typer.echo(
            f"{found.replaced} predictions replaced, {found.kept} left as they were: "
            f"{found.before / 1e6:.1f} MB before, {found.after / 1e6:.1f} MB now"
        )
