"""`fastast predict` and `fastast info`: label audio files, and show what a schedule does to a model."""

from __future__ import annotations

import itertools
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fastast.commands.options import (
    DEFAULT_MODEL,
    ActivationOption,
    ChannelsOption,
    DeviceOption,
    EncodingOption,
    ExcessOption,
    GeometryOption,
    HopOption,
    JsonOption,
    MethodOption,
    MixOption,
    ModelOption,
    NormalisationOption,
    OptionOption,
    OwnLengthOption,
    RateOption,
    ScheduleOption,
    runtime_of,
)
from fastast.commands.people import errors_for_people, say_error, set_up_process

if TYPE_CHECKING:
    from fastast.inference.events import EventRule
    from fastast.inference.prediction import Prediction


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(help="Audio files: wav, flac, ogg, opus, mp3; - for a WAV through a pipe.", metavar="FILE..."),
    ],
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
            help="Runtime for the model on a CPU: plain PyTorch, or another, for which it is exported once. Not given: "
            "PyTorch, or the runtime for a file written by `fastast export`."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of windows to score at once, from one or several files.")
    ] = 8,
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print per file.")] = 5,
    draw: Annotated[
        Path | None, typer.Option(help="Draw a picture of each file's merged tokens into this folder.")
    ] = None,
    hop: HopOption = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Write the labels heard, with their start and end times, to this table: .csv, .jsonl (JSON lines) or "
            ".txt (Audacity label track). Windows then overlap by half, unless --hop says otherwise."
        ),
    ] = None,
    events_format: Annotated[
        Literal["csv", "jsonl", "audacity"] | None,
        typer.Option(help="Format of the table. Not given: by the ending of its name."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Minimum score for a label in a window to count as an event. Not given: 0.5.")
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge/--no-merge", help="Whether to join a label's events in overlapping or adjacent windows into one."
        ),
    ] = True,
    gap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Longest gap, in seconds, across which two events of a label are joined."),
    ] = None,
    own_length: OwnLengthOption = False,
    rate: RateOption = None,
    encoding: EncodingOption = None,
    channels: ChannelsOption = None,
    mix: MixOption = "average",
    as_json: JsonOption = False,
) -> None:
    """Print the labels of audio files. A file longer than the model's input is cut into windows, all of which are used.

    Files of many hours take no more memory than shorter ones. On a GPU the model is compiled (`fastast.compile`).
    """
    set_up_process()
    from fastast.checkpoints.said import read_said
    from fastast.commands.pipes import read_sources
    from fastast.inference import drawing
    from fastast.inference.event_files import write_events
    from fastast.inference.hearing import Unread
    from fastast.inference.predictor import Predictor
    from fastast.reduction.text import read_reduction
    from fastast.system.writing import check_folder, check_target

    with errors_for_people():
        reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
        runtime = runtime_of(engine, model)
        rule, form = _events(events, events_format, threshold, gap, merge=merge, files=len(files))
        sources = read_sources(files, rate=rate, encoding=encoding, channels=channels, mix=mix)
        if draw and Path("-") in files:
            raise ValueError("--draw reads the sound a second time, and by then a pipe is gone; give a file")
        if draw:
            check_folder(draw)
        if events:
            check_target(events, files)
        predictor = Predictor(
            model,
            reduction,
            activation=activation,
            **read_said(geometry or (), normalisation),
            device=device,
            batch_size=batch_size,
            runtime=runtime,
            own_length=own_length,
            say=say_error,
        )
        if draw:
            drawing.drawn_model(predictor)
        predictions = predictor.predict(sources, events=rule, hop=hop, channels=mix)
        if not as_json:
            typer.echo(predictor.describe())
    failed, undrawn, drawn = 0, 0, set[Path]()
    with errors_for_people(), nullcontext() if events is None else write_events(events, form) as write:
        for found in predictions:
            if isinstance(found, Unread):
                say_error(found.error)
                failed += 1
                continue
            if write is not None:
                write(found.path, found.events)
            picture = _picture(draw, found.path, drawn) if draw else None
            try:
                picture = drawing.draw(predictor, found, picture, mix) if picture else None
            except (ValueError, OSError, RuntimeError) as error:
                say_error(f"{picture}: no picture: {error}")
                picture, undrawn = None, undrawn + 1
            _show(found, top, as_json=as_json, events=write is not None, picture=picture)
    if failed:
        say_error(f"{failed} of {len(files)} files gave no result")
    if failed or undrawn:
        raise typer.Exit(1)


def _events(
    path: Path | None, form: str | None, threshold: float | None, gap: float | None, *, merge: bool, files: int
) -> tuple[EventRule | None, str]:
    """Return the rule for events and the format of their table; raise ValueError for options that contradict."""
    from fastast.inference.event_files import event_format
    from fastast.inference.events import EventRule

    if path is None:
        asked = {"--events-format": form, "--threshold": threshold, "--gap": gap, "--no-merge": None if merge else True}
        for name, value in asked.items():
            if value is not None:
                raise ValueError(f"{name} applies to events, and none were requested; give --events FILE too")
        return None, ""
    found = event_format(path, form or "")
    if found == "audacity" and files > 1:
        raise ValueError(f"{path}: an Audacity label track belongs to one file; give one, or write .csv or .jsonl")
    usual = EventRule()
    rule = EventRule(
        threshold=usual.threshold if threshold is None else threshold,
        gap=usual.gap if gap is None else gap,
        merge=merge,
    )
    return rule, found


def _picture(folder: Path, path: Path, drawn: set[Path]) -> Path:
    """Return the path of a file's picture: the file's name, numbered where an earlier file has the same name."""
    names = itertools.chain([path.stem], (f"{path.stem}-{number}" for number in itertools.count(2)))
    target = next(target for name in names if (target := folder / f"{name}.png") not in drawn)
    drawn.add(target)
    return target


def _show(found: Prediction, top: int, *, as_json: bool, events: bool, picture: Path | None) -> None:
    if as_json:
        typer.echo(json.dumps(found.as_dict(top), ensure_ascii=False))
        return
    windows = f", {found.num_windows} windows" if found.num_windows > 1 else ""
    events_words = f", {len(found.events)} events" if events else ""
    typer.echo(f"\n{found.path} ({found.seconds:.2f} s{windows}{events_words})")
    for label, score in found.top(top):
        typer.echo(f"  {score:6.3f}  {label}")
    if picture:
        typer.echo(f"  picture: {picture}")


def info(
    model: Annotated[
        str | None, typer.Argument(help="A zoo model or a checkpoint. Not given: list the models and methods.")
    ] = None,
    schedule: ScheduleOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    frames: Annotated[
        int | None, typer.Option(help="Input length in frames of 10 ms. Not given: the model's own.")
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Step between patches on both axes; 16 gives fewer tokens. Not given: the model's own."),
    ] = None,
    geometry: GeometryOption = None,
) -> None:
    """List models and methods, or show a method's options, or a model's tokens and MACs under a schedule."""
    from fastast.checkpoints.said import read_said
    from fastast.commands.describe import describe_all, describe_method, describe_model
    from fastast.reduction.text import read_reduction

    with errors_for_people():
        if model is None and method is not None:
            typer.echo(describe_method(method))
        elif model is None:
            typer.echo(describe_all())
        else:
            reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
            said = read_said(geometry or ())["geometry"]
            typer.echo(describe_model(model, reduction, frames, stride=stride, said=said))
