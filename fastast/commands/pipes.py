"""What is piped into a command: `-` in the place of a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastast.data.decoding.pcm import PcmStream
from fastast.inference.live import ByteStream, PipeReader


def read_sources(
    files: Sequence[Path], *, rate: int | None, encoding: str | None, channels: int | None, mix: str = "average"
) -> list[Path | PipeReader]:
    """Return what is to be read, with a reader of the standard input in the place of `-`.

    `mix`: what that makes of several channels, as for `load_audio`.
    Raises ValueError where it is asked for twice, or described though it is not asked for.
    """
    pipes = files.count(Path("-"))
    if pipes > 1:
        raise ValueError("- stands for one pipe, which is read once; give it once")
    raw = raw_stream(rate, encoding, channels)
    if raw is not None and not pipes:
        raise ValueError(
            "--rate, --format and --channels say what samples on a pipe are; give - in the place of a file"
        )
    return [PipeReader(standard_input(), raw, channels=mix) if path == Path("-") else path for path in files]


def raw_stream(rate: int | None, encoding: str | None, channels: int | None) -> PcmStream | None:
    """Return what samples without a header are; None where nothing is said. Raises ValueError without a rate."""
    if rate is None:
        for name, value in (("--format", encoding), ("--channels", channels)):
            if value is not None:
                raise ValueError(f"{name} says what samples without a header are, whose rate is not known: give --rate")
        return None
    return PcmStream(rate=rate, encoding=encoding or "s16le", channels=1 if channels is None else channels)


def standard_input() -> ByteStream:
    """Return the standard input, unbuffered: a read ends with what is there, and holds no lock while it waits.

    Raises ValueError where a person sits at it.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError(
            "- reads sound from a pipe, and the input is a terminal: ffmpeg -i FILE -f wav - | fastast ..."
        )
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
