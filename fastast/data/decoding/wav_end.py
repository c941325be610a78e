"""Find where the samples of a WAV end and what follows them, as an unfinished header states too short a length.

A recorder that crashes leaves a length of 0, or the last one that it wrote. A length of 0 that samples follow means
that the length was unknown; whether samples or chunks follow is decided by the lengths of the chunks in a file, and by
their names in a pipe. After any other length, whatever is not a chunk of the WAV is reported.
"""

from __future__ import annotations

import re

from fastast.data.decoding.source import Content, Pieces, Source

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_ ]{3}")
"""Names of chunks, such as `LIST`, `id3 `, `bext` and `_PMX`."""
_KNOWN = (
    b"LIST", b"JUNK", b"junk", b"PAD ", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"_PMX", b"fact", b"PEAK", b"cue ",
    b"smpl", b"inst", b"plst", b"afsp", b"DISP", b"cart", b"umid", b"levl", b"LGWV",
)  # fmt: skip
"""Chunks that programs write after the samples."""
_UNKNOWN = b"\xff\xff\xff\xff"


def is_chunk(begin: bytes) -> bool:
    """Return whether bytes may begin a chunk rather than be samples; True for no bytes at all, and for zero padding."""
    return not begin.strip(b"\0") or _NAME.match(begin) is not None or _NAME.match(begin[1:]) is not None


def is_known_chunk(name: bytes) -> bool:
    """Return whether a name is that of a common chunk. A WAV of unknown length that sends one through a pipe where its
    samples should begin has no samples."""
    return name in _KNOWN


def open_ended(source: Source) -> Pieces | None:
    """Return a WAV that claims 0 bytes although samples follow as one of unknown length; None for other files."""
    at, size = _data(source)
    if not at or size or at == source.size or _are_chunks(source.content, at):
        return None
    content = source.content
    return Pieces([(content, 0, at - 4), (_UNKNOWN, 0, 4), (content, at, len(content))])


def _are_chunks(content: Content, at: int) -> bool:
    """Return whether chunks of the lengths that they state fill a file from a position to its end."""
    while at + 8 <= len(content) and _NAME.match(content[at : at + 4]):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return len(content) <= at <= len(content) + 1


def unheard(source: Source) -> str:
    """Return a warning where something other than chunks follows the samples of a WAV, else an empty string."""
    at, size = _data(source)
    end = at + size
    if not size or end >= source.size or is_chunk(source.content[end : end + 9]):
        return ""
    return told_too_little(f"{source.size - end:,} bytes come")


def told_too_little(what: str) -> str:
    """Return the warning that a WAV is longer than its header states; `what` begins it, such as "9 bytes come"."""
    return f"{what} after the end that its header states and were not read; if they are audio, rewrite the header"


def _data(source: Source) -> tuple[int, int]:
    """Return where the samples of a WAV begin and how many bytes its header claims; 0 and 0 where there are none."""
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
