"""Read the header of a WAV from a pipe, which can be read only once and may not state how long the audio is.

libsndfile would have to seek, and Python's `wave` does not read floating point.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from fastast.data.decoding.claims import STREAMED, UNKNOWN
from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.kinds import CODECS
from fastast.data.decoding.part import check_rate
from fastast.data.decoding.pcm import SAMPLE_BYTES, PcmStream

Read = Callable[[int], bytes]
"""Function that reads up to a number of bytes: returns those that have come, and none at the end of the stream."""
_ENCODINGS = {
    (1, 8): "u8",
    (1, 16): "s16le",
    (1, 24): "s24le",
    (1, 32): "s32le",
    (3, 32): "f32le",
    (3, 64): "f64le",
}
"""Encodings by format tag and bits per sample."""
_EXTENSIBLE = 0xFFFE
_LONGEST_FORMAT = 1 << 16
_PIECE = 1 << 16

HEAD_BYTES = 12
"""Bytes that suffice to recognise a WAV."""


def is_wav(head: bytes) -> bool:
    """Return whether a file or stream begins as a WAV of any kind."""
    return head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def read_wav_header(read: Read, name: str) -> PcmStream:
    """Read a stream up to its first sample and return the format of its samples.

    Programs that do not know the length write 0, or about 2 or 4 GB: `num_bytes` is then None. Raises AudioError, whose
    message begins with `name`, for a stream that is not a WAV, has another codec, is damaged, or ends in its header.
    """
    head = exactly(read, HEAD_BYTES)
    if not head:
        raise AudioError(f"{name}: the stream ended before a single byte came")
    if not is_wav(head):
        raise AudioError(
            f"{name}: begins with the bytes {head!r}, which is not a WAV. A pipe takes WAV (ffmpeg -i FILE -f wav - | "
            "...), or samples without a header: --rate, --format and --channels say what they are"
        )
    found: PcmStream | None = None
    length: int | None = None  # of the samples, where 32 bits cannot hold it
    while len(header := exactly(read, 8)) == 8:
        chunk, size = struct.unpack("<4sI", header)
        if chunk == b"data":
            if found is None:
                raise AudioError(f"{name}: its samples come before their format; write the WAV again")
            size = length if size == 0xFFFF_FFFF and length is not None else size
            known = 0 < size < UNKNOWN and (length is not None or size < STREAMED)
            return PcmStream(
                rate=found.rate, encoding=found.encoding, channels=found.channels, num_bytes=size if known else None
            )
        if size >= STREAMED:
            raise AudioError(f"{name}: the stream is damaged: its part {chunk!r} claims {size:,} bytes")
        if chunk == b"fmt " and size <= _LONGEST_FORMAT:
            found = _format(exactly(read, size + size % 2), name)
        elif chunk == b"ds64" and 24 <= size <= _LONGEST_FORMAT:
            length = struct.unpack_from("<Q", exactly(read, size + size % 2).ljust(16, b"\0"), 8)[0]
        else:
            _skip(read, size + size % 2)
    raise AudioError(f"{name}: the stream ended within its header")


def _format(body: bytes, name: str) -> PcmStream:
    if len(body) < 16:
        raise AudioError(f"{name}: the stream ended within its header")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 40:
        tag = struct.unpack_from("<H", body, 24)[0]
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None:
        codec = CODECS.get(tag, f"format tag 0x{tag:04x}")
        raise AudioError(
            f"{name}: a WAV of {codec} with {bits} bits, which is not read from a pipe; send PCM or floating point "
            "(ffmpeg -i FILE -f wav - | ...)"
        )
    if channels < 1 or align != channels * SAMPLE_BYTES[encoding]:
        raise AudioError(
            f"{name}: its header is damaged: {channels} channels of {bits} bits in {align} bytes; write the WAV again"
        )
    return PcmStream(rate=check_rate(name, rate), encoding=encoding, channels=channels)


def exactly(read: Read, size: int) -> bytes:
    """Read exactly `size` bytes, however slowly they come; fewer only at the end of the stream."""
    found = b""
    while len(found) < size and (more := read(size - len(found))):
        found += more
    return found


def _skip(read: Read, size: int) -> None:
    while size > 0 and (some := read(min(size, _PIECE))):
        size -= len(some)
