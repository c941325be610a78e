"""Where the samples of a WAV end, and what stands behind them: a header that was never finished tells too little.

A recorder that crashes leaves a length of 0, or the one that it wrote last. A length of 0 with samples behind it is
none that anybody knew: a file tells chunks from samples by their lengths, a pipe by their names. Behind another length,
what is not a chunk of the WAV is told of.
"""

from __future__ import annotations

import re

from fastast.data.decoding.source import Content, Pieces, Source

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_ ]{3}")
"""What chunks are called: `LIST`, `id3 `, `bext`, `_PMX`, ..."""
_KNOWN = (
    b"LIST", b"JUNK", b"junk", b"PAD ", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"_PMX", b"fact", b"PEAK", b"cue ",
    b"smpl", b"inst", b"plst", b"afsp", b"DISP", b"cart", b"umid", b"levl", b"LGWV",
)  # fmt: skip
"""Chunks that programs write behind samples."""
_UNKNOWN = b"\xff\xff\xff\xff"


def is_chunk(begin: bytes) -> bool:
    """Whether bytes may begin a chunk, rather than be samples; nothing, and padding with zeros, may too."""
    return not begin.strip(b"\0") or _NAME.match(begin) is not None or _NAME.match(begin[1:]) is not None


def is_known_chunk(name: bytes) -> bool:
    """Whether what comes through a pipe where the samples of a WAV of no length should is a chunk, by its name alone:
    then it has no samples."""
    return name in _KNOWN


def open_ended(source: Source) -> Pieces | None:
    """Return a WAV whose length says 0 although samples follow as one of unknown length; None for any other file."""
    at, size = _data(source)
    if not at or size or at == source.size or _are_chunks(source.content, at):
        return None
    content = source.content
    return Pieces([(content, 0, at - 4), (_UNKNOWN, 0, 4), (content, at, len(content))])


def _are_chunks(content: Content, at: int) -> bool:
    """Whether one chunk after another, each of the length that it tells, stands from a place to the end of a file."""
    while at + 8 <= len(content) and _NAME.match(content[at : at + 4]):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return len(content) <= at <= len(content) + 1


def unheard(source: Source) -> str:
    """Say that more than chunks stands behind the samples of a WAV; empty where that is not so."""
    at, size = _data(source)
    end = at + size
    if not size or end >= source.size or is_chunk(source.content[end : end + 9]):
        return ""
    return told_too_little(f"{source.size - end:,} bytes stand")


def told_too_little(what: str) -> str:
    """Say that the header of a WAV tells of less than there is."""
    return f"{what} behind the end that its header tells, and were not heard; if they are sound, write the header again"


def _data(source: Source) -> tuple[int, int]:
    """Return where the samples of a RIFF begin and how many bytes the header tells of; 0 and 0 where there are none."""
    if source.head[:4] != b"RIFF" or source.head[8:12] != b"WAVE":
        return 0, 0
    return _find(source.head) or _find(source.content) or (0, 0)


def _find(content: Content) -> tuple[int, int] | None:
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"data":
            return at + 8, size
        at += 8 + size + size % 2
    return None
