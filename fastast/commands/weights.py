"""`fastast average`, `ensemble` and `convert`: combine several models into one, and convert other file formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fastast.commands.options import GeometryOption, NormalisationOption, OutOption
from fastast.commands.people import errors_for_people, say_error


def average(
    models: Annotated[list[str], typer.Argument(help="Two or more models: zoo models with weights, or checkpoints.")],
    out: OutOption,
    share: Annotated[
        list[float] | None,
        typer.Option(help="Share of each model, in their order, with a sum of 1; repeatable. Not given: equal shares."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"], typer.Option(help="Data type of the weights in the file.")
    ] = "float32",
) -> None:
    """Average the weights of models fine-tuned from the same weights into one model, often better than each of them."""
    with errors_for_people():
        import torch

        from fastast.checkpoints import average_checkpoints
        from fastast.checkpoints.targets import check_model_target
        from fastast.zoo import trained_path

        paths = [trained_path(model) for model in models]
        check_model_target(out, paths)
        typer.echo(average_checkpoints(out, paths, share, dtype=getattr(torch, dtype)))


def ensemble(
    teachers: Annotated[
        list[str],
        typer.Argument(help="Two or more trained teachers: files, or zoo models with weights."),
    ],
    out: OutOption,
) -> None:
    """Combine trained teachers into one, whose logits are the mean of theirs, for use as a recipe's `teacher`."""
    with errors_for_people():
        from fastast.checkpoints.targets import check_model_target
        from fastast.teachers import combine_teachers, load_teacher, save_teacher
        from fastast.zoo import TRAINED

        check_model_target(out, [TRAINED.get(teacher, Path(teacher)) for teacher in teachers])
        typer.echo(save_teacher(out, combine_teachers([load_teacher(teacher) for teacher in teachers])))


def convert(
    model: Annotated[Path, typer.Argument(help="A checkpoint file or folder of any format.", metavar="MODEL")],
    out: OutOption,
    geometry: GeometryOption = None,
    normalisation: NormalisationOption = "",
    labels: Annotated[
        Path | None, typer.Option(help="Classes: a file with one name per line, in the order of the outputs.")
    ] = None,
    loss: Annotated[
        Literal["bce", "ce"] | None,
        typer.Option(help="Loss that the model was trained with, which decides how logits become scores."),
    ] = None,
) -> None:
    """Write a checkpoint in FastAST's own format with what its file does not state, so that every command takes it."""
    with errors_for_people():
        from fastast.checkpoints import load_checkpoint, save_checkpoint
        from fastast.checkpoints.said import read_said
        from fastast.checkpoints.targets import check_model_target
        from fastast.classes import read_names

        check_model_target(out, [model])
        said = read_said(geometry or (), normalisation)
        found = load_checkpoint(model, labels=None if labels is None else read_names(labels), **said)
        typer.echo(save_checkpoint(out, found, loss=loss))
        known = {"--normalisation": found.normalisation, "--labels": found.labels}
        if missing := [option for option, value in known.items() if value is None]:
            say_error(f"{out}: written without {' and '.join(missing)}, which other commands need; give them here")
