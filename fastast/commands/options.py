"""The options that several commands have: one spelling, one meaning, one help text.

`-s` is `--set KEY=VALUE` everywhere, here and in `python -m bench`, `-o` is `--out`, and schedules have no short form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_MODEL = "ast_tiny_soundscapes_taught"

Excess = Literal["refuse", "cap"]
"""As in `fastast.reduction.spec`, which takes torch."""
_SCHEDULES = (
    "constant:R, decreasing:R, increasing:R, linear:R:INFLECTION, early:R, late:R, first:R, list:R1,R2,..., "
    "keep:RATIO, speedup:X[:INFLECTION], or a file of `fastast tune`"
)


def complete_method(incomplete: str) -> Iterator[str]:
    """Yield the names of methods that start so."""
    from fastast.reduction import method_names

    yield from (name for name in method_names() if name.startswith(incomplete))


def runtime_of(engine: str | None, model: str) -> str:
    """Return the runtime that `--engine` names, empty where the model's own is meant.

    Raises ValueError for an exported file that is to run in plain PyTorch.
    """
    from fastast.exporting import is_exported

    if engine == "plain" and is_exported(model):
        raise ValueError(f"{model}: an exported file does not run in plain PyTorch; leave --engine out")
    return "" if engine in (None, "plain") else engine


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A name of the zoo (see `fastast info`), a checkpoint file or folder, or a file of `fastast export`.",
    ),
]
TrainedArgument = Annotated[
    str, typer.Argument(help="A name of the zoo with weights, or a checkpoint file or folder.", metavar="MODEL")
]
RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file (TOML), or the name of one that comes with FastAST.", metavar="RECIPE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Override a value of the recipe, such as seed=1; repeatable."
    ),
]
ScheduleOption = Annotated[
    str | None,
    typer.Option("--schedule", help=f"Tokens each block removes: {_SCHEDULES}. Not given: no merging."),
]
SchedulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule", help=f"Tokens each block removes: {_SCHEDULES}; repeatable. Not given: the model unmerged."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Which tokens go: a method that `fastast info` lists. Not given: tome, or what the recipe says.",
        autocompletion=complete_method,
    ),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the method (`fastast info --method tome` lists them), such as metric=queries; repeatable.",
    ),
]
ExcessOption = Annotated[
    Excess | None,
    typer.Option(
        "--excess",
        help="Where a block has fewer tokens than the schedule removes: refuse, or cap to as many as can be merged. "
        "Not given: refuse, or what the recipe says.",
    ),
]
ActivationOption = Annotated[
    str,
    typer.Option(
        "--activation",
        help="sigmoid (of each class, whether it is there) or softmax (which class it is). Not given: by the loss the "
        "model was trained with, sigmoid where its file does not say.",
    ),
]
GeometryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--geometry",
        metavar="NAME=VALUE",
        help="What a checkpoint does not say of its shape, such as num_frames=312 or fstride=10; repeatable.",
    ),
]
NormalisationOption = Annotated[
    str,
    typer.Option(
        "--normalisation",
        metavar="MEAN,STD",
        help="Mean and standard deviation of the filterbank that the model was trained with, such as "
        "-4.2677393,4.5689974. Of an AST it stands in for what its file says; other files that say it refuse it.",
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        "--labels",
        help="Classes of a model whose file does not name them: a file with a name per line in the order of its "
        "outputs, or data where that is the order of the data's classes.",
    ),
]
HopOption = Annotated[
    float | None,
    typer.Option(
        "--hop",
        metavar="SECONDS",
        help="Seconds between the starts of two windows; they overlap if it is shorter than the model's input.",
    ),
]
OwnLengthOption = Annotated[
    bool,
    typer.Option(
        "--own-length",
        help="Run clips that are shorter than the model's input at their own length, with fewer tokens, in place of "
        "padding them.",
    ),
]
RateOption = Annotated[
    int | None,
    typer.Option("--rate", help="Sample rate, in Hz, of a pipe of raw samples without a WAV header."),
]
EncodingOption = Annotated[
    Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"] | None,
    typer.Option("--format", help="Format of raw samples, by FFmpeg's name. Not given: s16le."),
]
ChannelsOption = Annotated[int | None, typer.Option("--channels", help="Channels of raw samples. Not given: 1.")]
MixOption = Annotated[
    Literal["average", "first"],
    typer.Option("--mix", help="What is made of several channels: their average, or the first alone, as AST has it."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: a GPU where there is one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and the result.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="The file to write.")]
