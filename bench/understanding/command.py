"""`python -m bench understand`: observe and draw what methods merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.command_line import for_people

FOLDER = "understanding"
"""Name of the folder in results and in reports."""


def understand(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the zoo with weights.")
    ] = "ast_tiny_soundscapes",
    schedule: Annotated[str, typer.Option(help="How many tokens are removed in each block.")] = "decreasing:48",
    method: Annotated[list[str] | None, typer.Option(help="Only this method; repeatable. All if not given.")] = None,
    clips: Annotated[int, typer.Option(min=1, max=2000, help="Test clips of the soundscapes.")] = 200,
    results: Annotated[Path, typer.Option(help="Root folder of results.")] = Path("build/results"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to draw into.")] = Path("build/reports"),
) -> None:
    """Observe along which axis methods merge, how similar merged tokens are, and whether silence goes before sound, and
    draw it."""
    with for_people():
        from bench.understanding.render import render_understanding
        from bench.understanding.run import run_understanding

        path = run_understanding(model, schedule, tuple(method or ()), clips, results / FOLDER, say=typer.echo)
        for written in render_understanding(path, out / FOLDER):
            typer.echo(written)
