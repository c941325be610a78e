"""`fastast listen`: label the sound of a microphone or a pipe as it arrives."""

from __future__ import annotations

import json
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
    JsonOption,
    MethodOption,
    MixOption,
    ModelOption,
    NormalisationOption,
    OptionOption,
    RateOption,
    ScheduleOption,
    runtime_of,
)
from fastast.commands.people import errors_for_people, say_error, set_up_process

if TYPE_CHECKING:
    from fastast.inference.listening import Heard
    from fastast.inference.live import LiveReader


def listen(
    stream: Annotated[
        Literal["-"] | None, typer.Argument(help="- for a WAV through a pipe. Not given: the microphone.")
    ] = None,
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
        typer.Option(help="Runtime for the model on a CPU, as for `fastast predict`."),
    ] = None,
    hop: Annotated[
        float, typer.Option("--hop", metavar="SECONDS", help="Seconds of sound from one line to the next.")
    ] = 1.0,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lowest score at which a label is printed.")] = 0.3,
    top: Annotated[int, typer.Option(min=1, help="Maximum number of labels to print.")] = 5,
    microphone: Annotated[
        str, typer.Option(help="Part of an input device's name, or its number. Not given: the system's default.")
    ] = "",
    rate: RateOption = None,
    encoding: EncodingOption = None,
    channels: ChannelsOption = None,
    mix: MixOption = "average",
    as_json: JsonOption = False,
) -> None:
    """Print the labels of a microphone or a pipe as the sound arrives, each line with the delay of its labels.

    Each line describes the latest window, as long as the model's input. Listening ends with the stream or with Ctrl-C.
    """
    set_up_process()
    from fastast.checkpoints.said import read_said
    from fastast.inference.listening import Listening
    from fastast.inference.listening import listen as follow
    from fastast.inference.predictor import Predictor
    from fastast.inference.windows import hop_samples
    from fastast.reduction.text import read_reduction

    with errors_for_people():
        reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
        runtime = runtime_of(engine, model)
        reader = _reader(stream, microphone, rate, encoding, channels, mix)
        predictor = Predictor(
            model,
            reduction,
            activation=activation,
            **read_said(geometry or (), normalisation),
            device=device,
            batch_size=1,
            runtime=runtime,
            say=say_error,
        )
        hop_samples(hop, predictor.window_samples)
        predictor.warm_up()
        if not as_json:
            typer.echo(predictor.describe())
        listening = Listening(hop=hop)
        try:
            for heard in follow(predictor, reader, listening, skip=stream is None):
                _show(heard, predictor.labels, threshold, top, as_json=as_json)
        except KeyboardInterrupt:
            pass
        finally:
            say_error(listening.describe())


def _reader(
    stream: str | None, microphone: str, rate: int | None, encoding: str | None, channels: int | None, mix: str
) -> LiveReader:
    from fastast.commands.pipes import raw_stream, standard_input
    from fastast.inference.live import Microphone, PipeReader

    raw = raw_stream(rate, encoding, channels)
    if stream is None:
        if raw is not None:
            raise ValueError("--rate, --format and --channels describe raw samples from a pipe; give - for one")
        return Microphone(microphone)
    if microphone:
        raise ValueError("--microphone names an input device, and - is a pipe; give one of the two")
    return PipeReader(standard_input(), raw, live=True, channels=mix)


def _show(heard: Heard, labels: tuple[str, ...], threshold: float, top: int, *, as_json: bool) -> None:
    order = (-heard.scores).argsort(kind="stable")[:top]
    found = [(labels[i], float(heard.scores[i])) for i in order if heard.scores[i] >= threshold]
    if as_json:
        line = {
            "start": round(heard.start, 3),
            "end": round(heard.end, 3),
            "labels": [{"label": label, "score": round(score, 6)} for label, score in found],
            "delay": round(heard.delay, 4),
        }
        typer.echo(json.dumps(line, ensure_ascii=False))
    else:
        words = ", ".join(f"{label} {score:.2f}" for label, score in found) or "nothing"
        typer.echo(f"{heard.end:8.2f} s  {words}  ({1000 * heard.delay:.0f} ms behind)")
