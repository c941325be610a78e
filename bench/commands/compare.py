"""`python -m bench compare A B`: what became slower."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people


def compare(
    a: Annotated[str, typer.Argument(help="A folder of results, or a git revision.")],
    b: Annotated[str, typer.Argument(help="The other folder or revision, judged against the first.")],
    relative_to: Annotated[
        str | None,
        typer.Option(
            help="Folders: judge only ratios to this arm of the same rounds (unmerged, slice), or, with none, only "
            "times. Not given: both times and ratios to unmerged, which must agree."
        ),
    ] = None,
    allow_different_machines: Annotated[
        bool, typer.Option("--allow-different-machines", help="Folders: compare two machines; every row says so.")
    ] = False,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Revisions: tokens removed per block and clips per batch, such as r40-batch1; repeatable."),
    ] = None,
    launches: Annotated[
        int | None, typer.Option(min=1, help="Revisions: pairs of processes, each one sample. Not given: 8.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Revisions: rounds per pair of processes. Not given: 4.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Revisions: PyTorch threads. Not given: 1.")] = None,
    device: Annotated[str | None, typer.Option(help="Revisions: cpu, cuda, auto. Not given: cpu.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Largest Holm-corrected p-value that counts.")] = 0.002,
    threshold: Annotated[float, typer.Option(min=0, help="Smallest difference that counts; 0.03 is 3 %.")] = 0.03,
    csv: Annotated[Path | None, typer.Option(help="Also write the table to this CSV file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table to this Markdown file.")] = None,
) -> None:
    """Judge, cell by cell, whether B is slower than A.

    Exit code 1 if a cell is slower or failed only in B, 2 if they cannot be compared, 3 if no cell could be judged.
    """
    with for_people():
        from bench.compare.command import CompareOptions, run_compare

        options = CompareOptions(
            relative_to=relative_to,
            allow_different_machines=allow_different_machines,
            cells=tuple(cell or ()),
            launches=launches,
            rounds=rounds,
            threads=threads,
            device=device,
            alpha=alpha,
            threshold=threshold,
            csv=csv,
            markdown=markdown,
        )
        if code := run_compare(a, b, options):
            raise typer.Exit(code)
