"""`fastast tune`: find the schedule with the best accuracy at a given speed, or the fastest within a given loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastast.commands.options import (
    ActivationOption,
    DeviceOption,
    LabelsOption,
    MethodOption,
    OptionOption,
    QuietOption,
    SetOption,
    TrainedArgument,
)
from fastast.commands.people import errors_for_people, say_error, set_up_process


def tune(
    model: TrainedArgument,
    data: Annotated[
        str,
        typer.Option("--data", help="A recipe whose data is used: a file, or the name of one of FastAST's."),
    ],
    settings: SetOption = None,
    speedup: Annotated[
        float | None,
        typer.Option(
            help="Target: the most accurate schedule that is at least this many times as fast as the unmerged model."
        ),
    ] = None,
    clips_per_second: Annotated[
        float | None,
        typer.Option(help="Target: the most accurate schedule with at least this throughput, in clips per second."),
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Target: the fastest schedule that loses at most this much mAP (or accuracy).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .toml file to write.")] = Path("tuned.toml"),
    method: MethodOption = None,
    options: OptionOption = None,
    split: Annotated[str, typer.Option(help="Split with the calibration clips: train, val or test.")] = "val",
    held_out: Annotated[
        str,
        typer.Option(
            help="Split with the clips that check the answer. Not given: half of --split, not used to calibrate."
        ),
    ] = "",
    clips: Annotated[int, typer.Option(help="Maximum number of clips from a split, spread evenly over it.")] = 1000,
    min_positives: Annotated[
        int, typer.Option(help="Minimum number of positive clips per class; with fewer, tuning is refused.")
    ] = 5,
    batch_size: Annotated[int, typer.Option(help="Batch size at which time is measured.")] = 8,
    rounds: Annotated[int, typer.Option(help="Number of rounds that time the finalists against each other.")] = 15,
    evaluations: Annotated[
        int, typer.Option(help="Maximum number of schedules to measure on the clips per time limit.")
    ] = 40,
    labels: LabelsOption = "",
    activation: ActivationOption = "",
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Find how many tokens each block should remove: the best schedule at a speed, or the fastest within a loss.

    An interrupted run resumes where it stopped. Use the file wherever a schedule is allowed: as --schedule FILE, in a
    sweep, or in a recipe.
    """
    set_up_process()
    with errors_for_people():
        from fastast.checkpoints.targets import check_model_target
        from fastast.reduction.text import read_reduction
        from fastast.tuning.command import tune_command
        from fastast.tuning.question import TuningQuestion
        from fastast.tuning.target import Target
        from fastast.zoo import trained_path

        check_model_target(out, [trained_path(model)])
        reduction = read_reduction("constant:0", method=method, options=options or ())
        assert reduction is not None
        question = TuningQuestion(
            model=model,
            data=data,
            settings=tuple(settings or ()),
            target=Target(speedup=speedup, clips_per_second=clips_per_second, max_loss=max_loss),
            method=reduction,
            split=split,
            held_out=held_out,
            clips=clips,
            min_positives=min_positives,
            batch_size=batch_size,
            rounds=rounds,
            evaluations=evaluations,
            labels=labels,
            activation=activation,
        )
        say = (lambda text: None) if quiet else say_error
        typer.echo(tune_command(question, out, device=device, say=say))
