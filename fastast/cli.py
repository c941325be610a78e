"""The `fastast` command: labels of audio files, what a schedule does to a model, training and evaluation."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Faster Audio Spectrogram Transformers by token merging.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

DEFAULT_MODEL = "ast_tiny_soundscapes"

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A name of the zoo (see `fastast info`), or a checkpoint file or folder.")
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        "-s",
        help="Tokens each block removes: constant:R, decreasing:R, increasing:R, linear:R:INFLECTION, "
        "list:R1,R2,..., keep:RATIO, speedup:X. Not given: no merging.",
    ),
]


Excess = Literal["refuse", "cap"]
"""As in `fastast.reduction.spec`, which takes torch."""
EXCESS_HELP = "Where a block has fewer tokens than the schedule removes: refuse, or cap to as many as can be merged"
ActivationOption = Annotated[
    str,
    typer.Option(
        "--activation",
        help="sigmoid (of each class, whether it is there) or softmax (which class it is). Not given: by the loss the "
        "model was trained with, sigmoid where its file does not say.",
    ),
]
ExcessOption = Annotated[Excess, typer.Option("--excess", help=f"{EXCESS_HELP}.")]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Faster Audio Spectrogram Transformers by token merging."""
    if version:
        from fastast import __version__

        typer.echo(f"fastast {__version__}")
        raise typer.Exit


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Audio files: wav, flac, ogg, opus, mp3.", metavar="FILE...")],
    model: ModelOption = DEFAULT_MODEL,
    schedule: ScheduleOption = None,
    excess: ExcessOption = "refuse",
    activation: ActivationOption = "",
    top: Annotated[int, typer.Option(min=1, help="Labels to print per file.")] = 5,
    draw: Annotated[
        Path | None, typer.Option(help="Write a picture of the merged tokens of each file into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
) -> None:
    """Print the labels of audio files. A file longer than the model's input is cut into windows, all of them used."""
    _set_up()
    from fastast.prediction import Predictor

    with _errors_for_people():
        predictor = Predictor(model, schedule, excess=excess, activation=activation)
        if not as_json:
            typer.echo(predictor.describe())
    failed = 0
    for path in files:
        try:
            with _errors_for_people():
                result = predictor(path)
                picture = predictor.draw(result, draw) if draw else None
        except typer.Exit:
            failed += 1
            continue
        if as_json:
            typer.echo(json.dumps(result.as_dict(top), ensure_ascii=False))
            continue
        windows = f", {result.num_windows} windows" if result.num_windows > 1 else ""
        typer.echo(f"\n{path} ({result.seconds:.2f} s{windows})")
        for label, score in result.top(top):
            typer.echo(f"  {score:6.3f}  {label}")
        if picture:
            typer.echo(f"  picture: {picture}")
    if failed:
        typer.echo(f"fastast: {failed} of {len(files)} files could not be read", err=True)
        raise typer.Exit(1)


@app.command()
def info(
    model: Annotated[str | None, typer.Argument(help="A name of the zoo, or a checkpoint. Not given: the zoo.")] = None,
    schedule: ScheduleOption = None,
    excess: ExcessOption = "refuse",
    frames: Annotated[
        int | None, typer.Option(help="Input length in frames of 10 ms, where not the model's own.")
    ] = None,
) -> None:
    """Show the zoo, or the tokens and MACs of every block of a model under a schedule."""
    from fastast.describe import describe_model, describe_zoo

    with _errors_for_people():
        typer.echo(describe_zoo() if model is None else describe_model(model, schedule, frames, excess=excess))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file (TOML), or the name of one that comes with FastAST.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A value in place of the recipe's; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder, if any.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")] = "auto",
    check: Annotated[bool, typer.Option("--check", help="Print the whole recipe and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the result.")] = False,
) -> None:
    """Train a model by a recipe. Start it under torchrun to use several GPUs, or several processes on a CPU."""
    with _errors_for_people():
        _set_up()
        from fastast.training.recipe_file import load_recipe, recipe_path

        wanted = load_recipe(recipe, settings or ())
        if check:
            typer.echo(json.dumps(wanted.question(), indent=1))
            return
        from fastast.training.loop import train as follow

        folder = out or Path("runs") / recipe_path(recipe).stem
        result = follow(wanted, folder, resume=resume, device=device, quiet=quiet)
        typer.echo(json.dumps({"folder": str(folder), **result}, ensure_ascii=False))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A name of the zoo with weights, or a checkpoint file or folder.")],
    recipe: Annotated[str, typer.Argument(help="The recipe that says the data: a file, or a name.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value in place of the recipe's; may be repeated."),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option("--schedule", "-s", help="Merge by this schedule (`fastast info --help`); may be repeated."),
    ] = None,
    excess: Annotated[
        Excess | None, typer.Option("--excess", help=f"{EXCESS_HELP}. Not given: as the recipe says.")
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="Classes of a model whose file does not name them: a file with a name per line in the order of its "
            "outputs, or data where that is the order of the data's classes."
        ),
    ] = "",
    activation: ActivationOption = "",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure mAP, AUC and accuracy of a model on the data of a recipe, unmerged or merged by schedules.

    Where the recipe has a part [reduction], its method, metric and the like are those of the schedules too.
    """
    with _errors_for_people():
        _set_up()
        from fastast.training.command import evaluate_command

        typer.echo(
            evaluate_command(
                model,
                recipe,
                settings or (),
                schedule or (),
                excess=excess,
                labels=labels,
                activation=activation,
                split=split,
                device=device,
                as_json=as_json,
            )
        )


@app.command()
def record(
    recipe: Annotated[str, typer.Argument(help="A recipe with a teacher: a file (TOML), or a name.")],
    out: Annotated[Path, typer.Argument(help="The file to write; the recipe's distillation.targets then.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Logits to keep of each clip; all classes: nothing is lost.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A value in place of the recipe's; may be repeated."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that the training will have.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda: the kind of device that will train.")] = "cpu",
) -> None:
    """Store what a recipe's teacher says to every batch of its training, so that the training need not ask it."""
    with _errors_for_people():
        _set_up()
        from fastast.training.recipe_file import load_recipe
        from fastast.training.record_recipe import record_recipe

        wanted = load_recipe(recipe, settings or ())
        typer.echo(record_recipe(wanted, out, k=k, device=device, processes=processes))


@app.command()
def summary(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs that differ in seed and fold only.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print mean and spread over runs of one recipe: the folds of ESC-50, or seeds."""
    with _errors_for_people():
        import dataclasses

        from fastast.training.summary import runs_table, summarise_runs

        found = summarise_runs(runs)
        typer.echo(json.dumps(dataclasses.asdict(found)) if as_json else runs_table(found))


class Stored(StrEnum):
    """Type of number in a file of weights."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


@app.command()
def average(
    models: Annotated[
        list[str], typer.Argument(help="Two models or more: names of the zoo with weights, or checkpoints.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    share: Annotated[
        list[float] | None,
        typer.Option("--share", help="Share of each model, in their order, together 1. Not given: equal ones."),
    ] = None,
    dtype: Annotated[Stored, typer.Option(help="Type of the numbers in the file.")] = Stored.float32,
) -> None:
    """Average the weights of models that went on from the same weights: one model, often better than each of them."""
    with _errors_for_people():
        import torch

        from fastast.checkpoints import average_checkpoints
        from fastast.prediction import trained_path

        paths = [trained_path(model) for model in models]
        typer.echo(average_checkpoints(out, paths, share, dtype=getattr(torch, dtype.value)))


def _set_up() -> None:
    """Set this process up to compute, before PyTorch is imported: how threads wait is read then."""
    from fastast.runtime import set_up

    set_up()


class _errors_for_people:  # noqa: N801
    """Turn the package's own errors into one line on stderr and exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | OSError):
            sys.stdout.flush()
            typer.echo(f"fastast: {error}", err=True)
            raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
