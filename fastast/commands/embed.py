"""`fastast embed`: turn audio files into vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fastast.commands.options import (
    DEFAULT_MODEL,
    ChannelsOption,
    DeviceOption,
    EncodingOption,
    ExcessOption,
    GeometryOption,
    HopOption,
    MethodOption,
    MixOption,
    ModelOption,
    NormalisationOption,
    OptionOption,
    OutOption,
    OwnLengthOption,
    RateOption,
    ScheduleOption,
)
from fastast.commands.people import errors_for_people, say_error, set_up_process


def embed(
    files: Annotated[
        list[Path],
        typer.Argument(help="Audio files: wav, flac, ogg, opus, mp3; - for a WAV through a pipe.", metavar="FILE..."),
    ],
    out: OutOption,
    per: Annotated[
        Literal["clip", "window"],
        typer.Option(help="clip: one vector per file, the mean over its windows; window: one per window."),
    ] = "clip",
    model: ModelOption = DEFAULT_MODEL,
    schedule: ScheduleOption = None,
    method: MethodOption = None,
    options: OptionOption = None,
    excess: ExcessOption = None,
    geometry: GeometryOption = None,
    normalisation: NormalisationOption = "",
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of windows to run at once, from one or several files.")
    ] = 8,
    hop: HopOption = None,
    own_length: OwnLengthOption = False,
    rate: RateOption = None,
    encoding: EncodingOption = None,
    channels: ChannelsOption = None,
    mix: MixOption = "average",
) -> None:
    """Write a vector for every audio file or window: the input of the model's head.

    The table (.parquet, .npz or .csv) has the columns file, start and end (seconds), and vector.
    """
    set_up_process()
    from fastast.checkpoints.said import read_said
    from fastast.commands.pipes import read_sources
    from fastast.inference.embedding import embed_files
    from fastast.inference.embedding_files import write_embeddings
    from fastast.inference.hearing import Unread
    from fastast.inference.predictor import Predictor
    from fastast.reduction.text import read_reduction
    from fastast.system.devices import find_device
    from fastast.system.writing import check_target

    failed = rows = 0
    with errors_for_people():
        check_target(out, files)
        reduction = read_reduction(schedule, method=method, options=options or (), excess=excess)
        sources = read_sources(files, rate=rate, encoding=encoding, channels=channels, mix=mix)
        predictor = Predictor(
            model,
            reduction,
            **read_said(geometry or (), normalisation),
            device="cpu",  # not compiled: compiled models return logits only
            batch_size=batch_size,
            own_length=own_length,
        )
        windows, where = per == "window", find_device(device)
        found = embed_files(predictor, sources, windows=windows, hop=hop, device=where, channels=mix)
        with write_embeddings(out) as write:
            for vectors in found:
                if isinstance(vectors, Unread):
                    say_error(vectors.error)
                    failed += 1
                else:
                    write(vectors)
                    rows += len(vectors)
            if not rows:
                raise ValueError(f"{out}: not one file could be read; nothing was written")
        typer.echo(f"{out}: {rows} vectors of {len(files) - failed} files")
    if failed:
        say_error(f"{failed} of {len(files)} files gave no result")
        raise typer.Exit(1)
