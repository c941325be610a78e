"""Options shared by several commands: one spelling, one meaning, one help text.

Everywhere, here and in `python -m bench`, `-s` is `--set KEY=VALUE` and `-o` is `--out`; schedules have no short form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_MODEL = "ast_tiny_soundscapes_taught"

Excess = Literal["refuse", "cap"]
"""As in `fastast.reduction.spec`, which is not imported because it needs torch."""
_SCHEDULES = (
    "constant:R, decreasing:R, increasing:R, linear:R:INFLECTION, early:R, late:R, first:R, list:R1,R2,..., "
    "keep:RATIO, speedup:X[:INFLECTION], or a file written by `fastast tune`"
)


def complete_method(incomplete: str) -> Iterator[str]:
    """Yield the names of methods that start with `incomplete`."""
    from fastast.reduction import method_names

    yield from (name for name in method_names() if name.startswith(incomplete))


def runtime_of(engine: str | None, model: str) -> str:
    """Return the runtime that `--engine` names; empty for PyTorch and for the default.

    Raises ValueError where an exported file is to run in plain PyTorch.
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
        help="A zoo model (see `fastast info`), a checkpoint file or folder, or a file written by `fastast export`.",
    ),
]
TrainedArgument = Annotated[
    str, typer.Argument(help="A zoo model with weights, or a checkpoint file or folder.", metavar="MODEL")
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
    typer.Option("--schedule", help=f"Number of tokens each block removes: {_SCHEDULES}. Not given: no merging."),
]
SchedulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule", help=f"Number of tokens each block removes: {_SCHEDULES}; repeatable. Not given: no merging."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Which tokens go: a method listed by `fastast info`. Not given: tome, or what the recipe says.",
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
        help="What to do if a block cannot remove as many tokens as the schedule says: refuse, or cap to the most that "
        "it can. Not given: refuse, or what the recipe says.",
    ),
]
ActivationOption = Annotated[
    str,
    typer.Option(
        "--activation",
        help="sigmoid (whether each class is present) or softmax (which class it is). Not given: the one for the loss "
        "that the model was trained with, or sigmoid if its file does not state the loss.",
    ),
]
GeometryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--geometry",
        metavar="NAME=VALUE",
        help="A field of the model's shape that a checkpoint does not state, such as num_frames=312 or fstride=10; "
        "repeatable.",
    ),
]
NormalisationOption = Annotated[
    str,
    typer.Option(
        "--normalisation",
        metavar="MEAN,STD",
        help="Mean and standard deviation of the filterbank that the model was trained with, such as "
        "-4.2677393,4.5689974. Overrides what an AST's file states; other files that state it refuse another.",
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        "--labels",
        help="Classes of a model whose file does not name them: a file with one name per line in the order of the "
        "outputs, or data if the outputs are in the order of the data's classes.",
    ),
]
HopOption = Annotated[
    float | None,
    typer.Option(
        "--hop",
        metavar="SECONDS",
        help="Seconds from the start of one window to the next; windows overlap if it is less than their length.",
    ),
]
OwnLengthOption = Annotated[
    bool,
    typer.Option(
        "--own-length",
        help="Run clips that are shorter than the model's input at their own length, with fewer tokens, instead of "
        "padding them.",
    ),
]
RateOption = Annotated[
    int | None,
    typer.Option("--rate", help="Sample rate, in Hz, of raw samples, without a WAV header, from a pipe."),
]
EncodingOption = Annotated[
    Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"] | None,
    typer.Option("--format", help="Format of raw samples, as FFmpeg names it. Not given: s16le."),
]
ChannelsOption = Annotated[
    int | None, typer.Option("--channels", help="Number of channels of raw samples. Not given: 1.")
]
MixOption = Annotated[
    Literal["average", "first"],
    typer.Option("--mix", help="What to make of several channels: their average, or the first alone, as in AST."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: a GPU if there is one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the result.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="The file to write.")]
