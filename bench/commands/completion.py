"""`python -m bench completion`: the script that lets a shell complete these commands."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench import completion

Shell = Literal["bash", "zsh"]


def show_completion(shell: Annotated[Shell, typer.Argument(help="bash or zsh.")]) -> None:
    """Print the script that completes these commands: `eval "$(python -m bench completion bash)"`."""
    typer.echo(completion.SCRIPTS[shell], nl=False)
