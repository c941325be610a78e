"""`fastast learn-merging`: learn an embedding by which a model's tokens are compared."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fastast.commands.options import DeviceOption, LabelsOption, OutOption, QuietOption, SetOption, TrainedArgument
from fastast.commands.people import errors_for_people, say_error, set_up_process


def learn_merging(
    model: TrainedArgument,
    data: Annotated[
        str,
        typer.Option("--data", help="A recipe whose data is used: a file, or the name of one of FastAST's."),
    ],
    out: OutOption,
    settings: SetOption = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            "--schedule",
            help="Schedule during training. Not given: decreasing:48. Of several, each step draws one; repeatable.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Number of training steps.")] = 400,
    batch_size: Annotated[int, typer.Option(help="Clips per step.")] = 8,
    lr: Annotated[float, typer.Option(help="Initial learning rate of Adam; it falls to 0.")] = 1e-3,
    temperature: Annotated[
        float,
        typer.Option(
            help="Temperature of the relaxed matching, in cosines: smaller is closer to inference, but 0.01 hardly "
            "teaches."
        ),
    ] = 0.1,
    precision: Annotated[
        str, typer.Option(help="Precision of the model: float32, bfloat16 or float16; the embedding's is float32.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="Seed for the order of clips and the draws of schedules.")] = 0,
    labels: LabelsOption = "",
    clips: Annotated[
        int, typer.Option(help="Number of validation clips on which the result is compared with ToMe.")
    ] = 200,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Learn an embedding by which tokens are compared for merging (--method dtem); the model's weights do not change.

    An interrupted run resumes where it stopped.
    """
    set_up_process()
    with errors_for_people():
        from fastast.dtem.command import learn_merging_command
        from fastast.dtem.question import MergingQuestion

        usual: Any = MergingQuestion.__dataclass_fields__["schedules"].default
        question = MergingQuestion(
            model=model,
            data=data,
            settings=tuple(settings or ()),
            schedules=tuple(schedule) if schedule else usual,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            temperature=temperature,
            precision=precision,
            seed=seed,
            labels=labels,
            clips=clips,
        )
        say = (lambda text: None) if quiet else say_error
        typer.echo(learn_merging_command(question, out, device=device, say=say))
