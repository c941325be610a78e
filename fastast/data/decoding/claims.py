"""What a header tells of, against what is there: a file that is cut off must not be heard as a shorter clip.

WAV, AIFF, AU, SVX, W64, RF64, VOC, WVE, AVR, MPC and MAT are held to what libsndfile notes of their headers while it
opens them; CAF and NIST to their own bytes, as it notes nothing there. IRCAM, PVF and PAF tell of no length; of a MIDI
dump (SDS) what is lost is read as silence.
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
"""Samples that libsndfile reports at least, and bytes of 64 bits that a header claims at least, where it tells none."""
_STREAMED = 0x7FFF_F000
"""Bytes that a header of 32 bits claims at least whose length was not known when it was begun."""
_MOST_SAMPLES_PER_BYTE = 65_535 // 10
"""Of silence in FLAC, the densest of all formats: 65,535 samples per frame of 10 bytes or more."""
_BYTES = re.compile(
    r"^ *(data|SSND|BODY|Data Size|riff|Riff size|Data length)[ :]*(\d+) (?:\(should be|should be) (\d+)"
)
"""How libsndfile notes a part that is longer than the file: `data : 96000 (should be 47978)`."""
_OF_64_BITS = ("riff", "Riff size")
"""Those parts whose length has 64 bits."""
_SAMPLES = {name: re.compile(r"^ *Frames *: (\d+)") for name in ("AVR", "MPC2K")}
_SAMPLES |= {name: re.compile(r"^ *(?:Rows : \d+ *)?Cols *: (\d+)") for name in ("MAT4", "MAT5")}
"""By format, how it notes the samples that the header counts; the last one is meant."""
_TRUNCATED = "Seems to be a truncated file"
"""How it notes a VOC that is cut off."""


def check_bytes(source: Source) -> None:
    """Raise AudioError for a CAF or NIST whose header tells of more than there is. Reads but the head of others."""
    for claimed in _caf_end(source.content) if source.head[:4] == b"caff" else _nist_end(source.head):
        if source.size < claimed < UNKNOWN:
            raise cut_off(source, f"{claimed:,} bytes", f"{source.size:,}")


def check_notes(source: Source, file: soundfile.SoundFile) -> None:
    """Raise AudioError for a file that tells of more than it has, before anything is read."""
    size = source.size
    if file.format not in ("MP3", "OGG") and size * _MOST_SAMPLES_PER_BYTE < file.frames < UNKNOWN:
        raise AudioError(
            f"{source.name}: the file is cut off or damaged: its header claims {file.frames:,} samples, which "
            f"{size:,} bytes cannot hold. Fetch it again, or leave it out"
        )
    lines = file.extra_info.splitlines()
    for part, declared, there in (found.groups() for line in lines if (found := _BYTES.match(line))):
        if int(there) < int(declared) < (UNKNOWN if part in _OF_64_BITS else _STREAMED):
            raise cut_off(source, f"{int(declared):,} bytes of audio", f"{int(there):,}")
    pattern = _SAMPLES.get(file.format)
    counts = [int(found[1]) for line in lines if pattern and (found := pattern.match(line))]
    if counts and file.frames < counts[-1]:
        raise cut_off(source, f"{counts[-1]:,} samples", f"{file.frames:,}")
    if file.format == "VOC" and _TRUNCATED in file.extra_info:
        raise cut_off(source, "more bytes of audio", f"{size:,} bytes in all")


def cut_off(source: Source, claimed: str, there: str) -> AudioError:
    """Return the error for a file whose header claims something, of which less is there."""
    return AudioError(
        f"{source.name}: the file is cut off: its header claims {claimed}, {there} are there. Fetch it again, or cut "
        "it properly with an audio tool"
    )


def _caf_end(content: Content) -> Iterator[int]:
    """Yield where the audio of a CAF ends by its header: parts of 4 bytes of name, 8 of size, and so many more."""
    at = 8
    while at + 12 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 12], "big")
        at += 12 + size
        if name == b"data":
            yield at


def _nist_end(head: bytes) -> Iterator[int]:
    """Yield where a NIST SPHERE file of whole samples ends by its header; nothing for other files."""
    if not head.startswith(b"NIST_1A"):
        return
    values = {name: value for name, value in re.findall(rb"^(\w+) -\S+ (\S+)", head, re.MULTILINE)}
    counts = [values.get(name, b"") for name in (b"sample_count", b"sample_n_bytes", b"channel_count")]
    begin = head[8:16].strip()
    if begin.isdigit() and all(count.isdigit() for count in counts):
        samples, width, channels = map(int, counts)
        yield int(begin) + samples * width * channels
