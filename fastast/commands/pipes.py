"""Input from a pipe: `-` in place of a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastast.data.decoding.pcm import PcmStream
from fastast.inference.live import ByteStream, PipeReader


def read_sources(
    files: Sequence[Path], *, rate: int | None, encoding: str | None, channels: int | None, mix: str = "average"
) -> list[Path | PipeReader]:
    """Return the sources to read, with a reader of standard input in place of `-`.

    `mix`: how that reader reduces several channels to one, as for `load_audio`.
    Raises ValueError where `-` is given twice, or a format of samples without `-`.
    """
    pipes = files.count(Path("-"))
    if pipes > 1:
        raise ValueError("- is one pipe, which can be read only once; give it once")
    raw = raw_stream(rate, encoding, channels)
    if raw is not None and not pipes:
        raise ValueError("--rate, --format and --channels describe raw samples from a pipe; give - in place of a file")
    return [PipeReader(standard_input(), raw, channels=mix) if path == Path("-") else path for path in files]


def raw_stream(rate: int | None, encoding: str | None, channels: int | None) -> PcmStream | None:
    """Return the format of samples without a header; None if none is given. Raises ValueError without a rate."""
    if rate is None:
        for name, value in (("--format", encoding), ("--channels", channels)):
            if value is not None:
                raise ValueError(f"{name} describes samples without a header, whose rate is unknown; give --rate")
        return None
    return PcmStream(rate=rate, encoding=encoding or "s16le", channels=1 if channels is None else channels)


def standard_input() -> ByteStream:
    """Return standard input, unbuffered: a read returns what is available and holds no lock while it waits.

    Raises ValueError where it is a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError(
            "- reads sound from a pipe, and the input is a terminal: ffmpeg -i FILE -f wav - | fastast ..."
        )
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
