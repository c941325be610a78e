"""Compare what a header claims with what the file holds: a truncated file must not pass for a shorter clip.

WAV, AIFF, AU, SVX, W64, RF64, VOC, WVE, AVR, MPC and MAT are checked against what libsndfile logs about their headers
while it opens them; CAF and NIST against their own bytes, as libsndfile logs nothing about those. IRCAM, PVF and PAF
state no length; what is missing from a MIDI sample dump (SDS) is read as silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.source import Content, Source

if TYPE_CHECKING:
    import soundfile

UNKNOWN = 1 << 62
"""Where no length is stated, libsndfile reports at least this many samples, and a 64-bit header claims at least this
many bytes."""
STREAMED = 0x7FFF_F000
"""Bytes that a 32-bit header claims at least, if it was written before the length was known."""
_MOST_SAMPLES_PER_BYTE = 65_535 // 10
"""Most samples that a byte can hold: silence in FLAC, the densest format, has 65,535 per frame of 10 bytes or more."""
_BYTES = re.compile(
    r"^ *(data|SSND|BODY|Data Size|riff|Riff size|Data length)[ :]*(\d+) (?:\(should be|should be) (\d+)"
)
"""How libsndfile logs a chunk that is longer than the file: `data : 96000 (should be 47978)`."""
_OF_64_BITS = ("riff", "Riff size")
"""Chunks in such a line whose length has 64 bits."""
_SAMPLES = {name: re.compile(r"^ *Frames *: (\d+)") for name in ("AVR", "MPC2K")}
_SAMPLES |= {name: re.compile(r"^ *(?:Rows : \d+ *)?Cols *: (\d+)") for name in ("MAT4", "MAT5")}
"""How libsndfile logs the header's sample count, by format; the last match counts."""
_TRUNCATED = "Seems to be a truncated file"
"""How libsndfile logs a VOC file that is cut off."""


def check_bytes(source: Source) -> None:
    """Raise AudioError for a CAF or NIST file that is shorter than its header claims. Reads only the head of others."""
    for claimed in _caf_end(source.content) if source.head[:4] == b"caff" else _nist_end(source.head):
        if source.size < claimed < UNKNOWN:
            raise cut_off(source, f"{claimed:,} bytes", f"{source.size:,}")


def check_notes(source: Source, file: soundfile.SoundFile) -> None:
    """Raise AudioError, before any audio is read, for a file whose header claims more than the file holds."""
    size = source.size
    if file.format not in ("MP3", "OGG") and size * _MOST_SAMPLES_PER_BYTE < file.frames < UNKNOWN:
        raise AudioError(
            f"{source.name}: the file is cut off or damaged: its header claims {file.frames:,} samples, which "
            f"{size:,} bytes cannot hold. Fetch it again, or leave it out"
        )
    lines = file.extra_info.splitlines()
    for part, declared, there in (found.groups() for line in lines if (found := _BYTES.match(line))):
        if int(there) < int(declared) < (UNKNOWN if part in _OF_64_BITS else STREAMED):
            raise cut_off(source, f"{int(declared):,} bytes of audio", f"{int(there):,}")
    pattern = _SAMPLES.get(file.format)
    counts = [int(found[1]) for line in lines if pattern and (found := pattern.match(line))]
    if counts and file.frames < counts[-1]:
        raise cut_off(source, f"{counts[-1]:,} samples", f"{file.frames:,}")
    if file.format == "VOC" and _TRUNCATED in file.extra_info:
        raise cut_off(source, "more bytes of audio", f"{size:,} bytes in all")


def cut_off(source: Source, claimed: str, there: str) -> AudioError:
    """Return the error for a file whose header claims more than is there."""
    return AudioError(
        f"{source.name}: the file is cut off: its header claims {claimed} but only {there} are there. Fetch it again, "
        "or cut it properly with an audio tool"
    )


def _caf_end(content: Content) -> Iterator[int]:
    """Yield where the audio of a CAF ends by its header. Its chunks are 4 bytes of name, 8 of size, and the content."""
    at = 8
    while at + 12 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 12], "big")
        at += 12 + size
        if name == b"data":
            yield at


def _nist_end(head: bytes) -> Iterator[int]:
    """Yield where a NIST SPHERE file ends by its header; nothing for other files, or if the header lacks a count."""
    if not head.startswith(b"NIST_1A"):
        return
    values = {name: value for name, value in re.findall(rb"^(\w+) -\S+ (\S+)", head, re.MULTILINE)}
    counts = [values.get(name, b"") for name in (b"sample_count", b"sample_n_bytes", b"channel_count")]
    begin = head[8:16].strip()
    if begin.isdigit() and all(count.isdigit() for count in counts):
        samples, width, channels = map(int, counts)
        yield int(begin) + samples * width * channels
