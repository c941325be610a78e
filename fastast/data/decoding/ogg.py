"""Find the pages of Ogg files (Vorbis, Opus), so that chained files are read whole, and unfinished ones at all.

Layout of a page: RFC 3533, section 6. A chained file consists of several files in a row ("links"). Opus: RFC 7845.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.source import Content, Pieces

_HEADER = 27
"""Bytes of a page before its segment table."""
_BEGINS, _ENDS = 2, 4
"""Flags of a stream's first and last page."""


@dataclass(kw_only=True)
class OggLink:
    """One of the files in a chain."""

    content: Content
    start: int
    """Offset at which its first page begins."""
    end: int
    """Offset at which its last page ends."""
    last: int
    """Offset at which its last page begins."""
    opening: bool = True
    """Whether only the first pages of its streams have been found so far."""

    @property
    def is_finished(self) -> bool:
        """Whether its last page is flagged as the last."""
        return bool(self.content[self.last + 5] & _ENDS)

    def file(self) -> Pieces:
        """Return the link as a file to decode, with its last page flagged as the last."""
        if self.is_finished:
            return Pieces([(self.content, self.start, self.end)])
        page = bytearray(self.content[self.last : self.end])
        page[5] |= _ENDS  # without it, decoders keep the padding and libsndfile refuses Opus
        page[22:26] = bytes(4)
        page[22:26] = _checksum(bytes(page)).to_bytes(4, "little")
        return Pieces([(self.content, self.start, self.last), (bytes(page), 0, len(page))])


def is_ogg(content: Content) -> bool:
    """Return whether a file begins as Ogg."""
    return content[:4] == b"OggS"


def ogg_links(content: Content, name: str) -> list[OggLink]:
    """Return the links of a file. Raises AudioError where its last page extends beyond the end of the file.

    A file that ends with a complete page is accepted although it may have been cut there, because stream recorders end
    files that way.
    """
    links: list[OggLink] = []
    at = 0
    while (at := content.find(b"OggS", at)) >= 0:
        lacing = content[at + _HEADER : at + _HEADER + content[at + 26]] if at + _HEADER <= len(content) else b""
        end = at + _HEADER + len(lacing) + sum(lacing)
        if at + _HEADER > len(content) or len(lacing) < content[at + 26] or end > len(content):
            raise AudioError(
                f"{name}: the file is cut off: its last Ogg page is incomplete. Fetch it again, or cut it properly "
                "with an audio tool"
            )
        begins = bool(content[at + 5] & _BEGINS)
        if not links or (begins and not links[-1].opening):
            links.append(OggLink(content=content, start=at, end=end, last=at))
        links[-1].end, links[-1].last = end, at
        links[-1].opening = links[-1].opening and begins
        at = end
    return links


@functools.cache
def _checksums() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x8000_0000 else value << 1) & 0xFFFF_FFFF
        table.append(value)
    return tuple(table)


def _checksum(page: bytes) -> int:
    """Return the CRC-32 of a page: polynomial 0x04c11db7, no reflection (RFC 3533, section 6)."""
    table, value = _checksums(), 0
    for byte in page:
        value = (value << 8 & 0xFFFF_FFFF) ^ table[value >> 24 ^ byte]
    return value
