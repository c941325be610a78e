"""`fastast export`: write a model as a file for other runtimes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from fastast.commands.options import (
    ExcessOption,
    GeometryOption,
    MethodOption,
    NormalisationOption,
    OptionOption,
    OutOption,
    ScheduleOption,
    TrainedArgument,
)
from fastast.commands.people import errors_for_people, set_up_process


def export(
    model: TrainedArgument,
    out: OutOption,
    format: Annotated[
        Literal["onnx", "openvino"],
        typer.Option(help="onnx: an .onnx file; openvino: an .xml file with a .bin file next to it."),
    ] = "onnx",
    schedule: ScheduleOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    geometry: GeometryOption = None,
    normalisation: NormalisationOption = "",
    dtype: Annotated[
        Literal["float32", "int8"],
        typer.Option(help="Type of the blocks' matrix products; int8 needs --calibrate."),
    ] = "float32",
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="A recipe on whose training clips int8 is calibrated: a file, or a name such as soundscapes_tiny.",
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=2, help="Number of clips to calibrate on, spread evenly over the training set.")
    ] = 64,
) -> None:
    """Write a model, merged or not, as a file for other runtimes that takes batches of any size.

    The file is kept only if its logits agree with PyTorch's on real sound. `fastast predict -m FILE` runs it.
    """
    set_up_process()
    from fastast.checkpoints.said import read_said
    from fastast.exporting.command import export_command
    from fastast.reduction.text import read_reduction

    with errors_for_people():
        reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
        typer.echo(
            export_command(
                model,
                out,
                reduction,
                format=format,
                dtype=dtype,
                recipe=calibrate,
                clips=clips,
                **read_said(geometry or (), normalisation),
            )
        )
