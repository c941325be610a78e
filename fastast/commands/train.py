"""`fastast train`, `evaluate`, `record` and `summary`: the commands that follow recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastast.commands.options import (
    ActivationOption,
    DeviceOption,
    ExcessOption,
    GeometryOption,
    JsonOption,
    LabelsOption,
    MethodOption,
    OptionOption,
    OutOption,
    OwnLengthOption,
    QuietOption,
    RecipeArgument,
    SchedulesOption,
    SetOption,
    TrainedArgument,
)
from fastast.commands.people import errors_for_people, set_up_process
from fastast.inference.file_names import utf8_json


def train(
    recipe: RecipeArgument,
    settings: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the run. Not given: runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in that folder, if there is one.")] = False,
    device: DeviceOption = "auto",
    check: Annotated[bool, typer.Option("--check", help="Print what decides the weights, and stop.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model by a recipe. Start it with torchrun to use several GPUs, or several processes on a CPU."""
    with errors_for_people():
        set_up_process()
        from fastast.training.recipe.file import load_recipe, recipe_path

        wanted = load_recipe(recipe, settings or ())
        if check:
            typer.echo(json.dumps(wanted.question(), indent=1))
            return
        from fastast.training.distributed import prints
        from fastast.training.loop import train as follow

        folder = out or Path("runs") / recipe_path(recipe).stem
        result = follow(wanted, folder, resume=resume, device=device, quiet=quiet)
        if prints():
            typer.echo(utf8_json({"folder": str(folder), **result}))


def evaluate(
    model: TrainedArgument,
    recipe: RecipeArgument,
    settings: SetOption = None,
    schedule: SchedulesOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    labels: LabelsOption = "",
    activation: ActivationOption = "",
    geometry: GeometryOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    own_length: OwnLengthOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the mAP, AUC and accuracy of a model on the data of a recipe, unmerged or merged by schedules.

    If the recipe has a `reduction` section, its settings apply to the schedules too, unless overridden here.
    """
    with errors_for_people():
        set_up_process()
        from fastast.training.distributed import prints
        from fastast.training.evaluation.command import evaluate_command

        found = evaluate_command(
            model,
            recipe,
            settings or (),
            schedule or (),
            method=method,
            options=options or (),
            excess=excess,
            labels=labels,
            activation=activation,
            geometry=geometry or (),
            own_length=own_length,
            split=split,
            device=device,
            as_json=as_json,
        )
        if prints():
            typer.echo(found)


def record(
    recipe: RecipeArgument,
    out: OutOption,
    k: Annotated[
        int,
        typer.Option(
            "--k", min=1, help="Number of logits to keep per clip; with as many as there are classes, nothing is lost."
        ),
    ],
    settings: SetOption = None,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that will train.")] = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Store the teacher's answers to every batch of a recipe's training, so that the training need not run the teacher.

    Name the file in the recipe's distillation.targets. The device must be of the kind that will train.
    """
    with errors_for_people():
        set_up_process()
        from fastast.system.writing import check_target
        from fastast.training.recipe.file import load_recipe, recipe_path
        from fastast.training.record_recipe import record_recipe

        wanted = load_recipe(recipe, settings or ())
        check_target(out, [recipe_path(recipe)])
        typer.echo(record_recipe(wanted, out, k=k, device=device, processes=processes))


def summary(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs that differ only in seed and fold.")],
    as_json: JsonOption = False,
) -> None:
    """Print the mean and spread of test scores over runs of one recipe: the folds of ESC-50, or several seeds."""
    with errors_for_people():
        import dataclasses

        from fastast.training.evaluation.summary import runs_table, summarise_runs

        found = summarise_runs(runs)
        typer.echo(json.dumps(dataclasses.asdict(found)) if as_json else runs_table(found))
