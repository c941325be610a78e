"""`fastast predict` and `fastast info`: labels of audio files, and what a schedule does to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from fastast.commands.options import (
    DEFAULT_MODEL,
    ActivationOption,
    DeviceOption,
    ExcessOption,
    GeometryOption,
    JsonOption,
    MethodOption,
    ModelOption,
    NormalisationOption,
    OptionOption,
    ScheduleOption,
)
from fastast.commands.people import errors_for_people, say_error, set_up_process


def predict(
    files: Annotated[list[Path], typer.Argument(help="Audio files: wav, flac, ogg, opus, mp3.", metavar="FILE...")],
    model: ModelOption = DEFAULT_MODEL,
    schedule: ScheduleOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    activation: ActivationOption = "",
    geometry: GeometryOption = None,
    normalisation: NormalisationOption = "",
    device: DeviceOption = "auto",
    engine: Annotated[
        Literal["plain", "onnxruntime", "openvino"] | None,
        typer.Option(
            help="What runs the model on a CPU: plain PyTorch, or another runtime, for which it is exported once. Not "
            "given: PyTorch, and of a file of `fastast export` the runtime that suits it."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows to score at once, of one file or several.")] = 8,
    top: Annotated[int, typer.Option(min=1, help="Labels to print per file.")] = 5,
    draw: Annotated[
        Path | None, typer.Option(help="Write a picture of the merged tokens of each file into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the labels of audio files. A file longer than the model's input is cut into windows, all of them used.

    On a GPU the model runs compiled, as by `fastast.compile`.
    """
    set_up_process()
    from fastast.checkpoints.said import read_said
    from fastast.exporting import is_exported
    from fastast.prediction import Predictor, Unread
    from fastast.reduction.text import read_reduction

    with errors_for_people():
        reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
        if engine == "plain" and is_exported(model):
            raise ValueError(f"{model}: an exported file does not run in plain PyTorch; leave --engine out")
        predictor = Predictor(
            model,
            reduction,
            activation=activation,
            **read_said(geometry or (), normalisation),
            device=device,
            batch_size=batch_size,
            runtime="" if engine in (None, "plain") else engine,
            say=say_error,
        )
        if not as_json:
            typer.echo(predictor.describe())
    failed = 0
    for found in predictor.predict(files):
        if isinstance(found, Unread):
            say_error(found.error)
            failed += 1
            continue
        with errors_for_people():
            picture = predictor.draw(found, draw) if draw else None
        if as_json:
            typer.echo(json.dumps(found.as_dict(top), ensure_ascii=False))
            continue
        windows = f", {found.num_windows} windows" if found.num_windows > 1 else ""
        typer.echo(f"\n{found.path} ({found.seconds:.2f} s{windows})")
        for label, score in found.top(top):
            typer.echo(f"  {score:6.3f}  {label}")
        if picture:
            typer.echo(f"  picture: {picture}")
    if failed:
        say_error(f"{failed} of {len(files)} files could not be read")
        raise typer.Exit(1)


def info(
    model: Annotated[str | None, typer.Argument(help="A name of the zoo, or a checkpoint. Not given: the zoo.")] = None,
    schedule: ScheduleOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    frames: Annotated[
        int | None, typer.Option(help="Input length in frames of 10 ms, where not the model's own.")
    ] = None,
    geometry: GeometryOption = None,
) -> None:
    """List models and methods; or show a method's options, or the tokens and MACs of a model under a schedule."""
    from fastast.checkpoints.said import read_said
    from fastast.describe import describe_all, describe_method, describe_model
    from fastast.reduction.text import read_reduction

    with errors_for_people():
        if model is None and method is not None:
            typer.echo(describe_method(method))
        elif model is None:
            typer.echo(describe_all())
        else:
            reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
            typer.echo(describe_model(model, reduction, frames, said=read_said(geometry or ())["geometry"]))
