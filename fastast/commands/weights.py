"""`fastast average`: one model of several models' weights."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from fastast.commands.options import OutOption
from fastast.commands.people import errors_for_people


def average(
    models: Annotated[
        list[str], typer.Argument(help="Two models or more: names of the zoo with weights, or checkpoints.")
    ],
    out: OutOption,
    share: Annotated[
        list[float] | None,
        typer.Option(help="Share of each model, in their order, together 1; repeatable. Not given: equal ones."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"], typer.Option(help="Type of the numbers in the file.")
    ] = "float32",
) -> None:
    """Average the weights of models that went on from the same weights: one model, often better than each of them."""
    with errors_for_people():
        import torch

        from fastast.checkpoints import average_checkpoints
        from fastast.zoo import trained_path

        paths = [trained_path(model) for model in models]
        typer.echo(average_checkpoints(out, paths, share, dtype=getattr(torch, dtype)))
