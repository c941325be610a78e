"""Decode m4a, video and whatever else FFmpeg reads, through PyAV (`pip install 'fastast[media]'`).

Shapes: `s` samples of a block, `k` channels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.kinds import FileKind
from fastast.data.decoding.part import Part, check_rate
from fastast.data.decoding.source import Content, Pieces, Source


def is_installed() -> bool:
    """Return whether PyAV is installed."""
    return find_spec("av") is not None


def open_media(source: Source, kind: FileKind) -> Part:
    """Open a file's first audio stream. Raises AudioError where it has none, or is cut off or damaged."""
    import av

    if kind.demuxer == "mov":
        _check_boxes(source)
    av.logging.set_level(av.logging.PANIC)  # errors are reported once, by us
    file = io.BufferedReader(Pieces([(source.content, 0, len(source.content))]))
    try:
        container = av.open(file, format=kind.demuxer)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioError(f"{source.name}: begins as {kind.name} but is cut off or damaged; fetch it again") from error
    if not container.streams.audio:
        raise AudioError(f"{source.name}: {kind.name} without an audio track; leave it out")
    stream = container.streams.audio[0]
    context = stream.codec_context  # None for a codec that FFmpeg does not know
    rate, channels = (context.sample_rate, context.channels) if context else (0, 0)
    if not rate or not channels:
        raise AudioError(f"{source.name}: {kind.name} whose audio FFmpeg cannot decode; convert it, or leave it out")
    return Part(
        rate=check_rate(source.name, rate),
        channels=channels,
        codec=f"{container.format.name.split(',')[0]} {context.name}",
        blocks=_blocks(source, container, stream, _exact_length(kind, stream, rate)),
    )


def _exact_length(kind: FileKind, stream: Any, rate: int) -> int | None:
    """Return the number of samples of an MPEG-4 track without the encoder's padding, from its edit list."""
    if kind.demuxer != "mov" or not stream.duration or not stream.time_base:
        return None
    return round(stream.duration * stream.time_base * rate)


def _blocks(source: Source, container: Any, stream: Any, length: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield all samples of a stream, (s, k), without the padding at its end (a few frames at most)."""
    import av

    done = 0
    with container:
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        try:
            for frame in container.decode(stream):
                for plain in resampler.resample(frame):
                    block = np.ascontiguousarray(plain.to_ndarray().T, np.float32)  # (s, k)
                    if length is not None:
                        block = block[: max(0, length - done)]
                    done += len(block)
                    if len(block):
                        yield block
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{source.name}: cut off or damaged after {done / stream.rate:.2f} s; fetch it again. FFmpeg says: "
                f"{error}"
            ) from error


def _check_boxes(source: Source) -> None:
    """Raise AudioError where a box of an MPEG-4 file extends beyond its end (ISO/IEC 14496-12, section 4.2)."""
    content: Content = source.content
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file
            return
        if size < 8 or at + size > len(content):
            raise AudioError(
                f"{source.name}: the file is cut off or damaged: a part of it claims {size:,} bytes "
                f"but only {len(content) - at:,} are there. Fetch it again"
            )
        at += size
