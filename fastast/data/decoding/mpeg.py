"""Find the frames of MPEG audio (mp3), so that every one is decoded and the length is a count, not an estimate.

A decoder that is not given the number of frames estimates it from the first frame's bit rate and the file's size, and
stops there. With a variable bit rate, joined files, or pictures and tags in the file, the estimate may be wrong by any
factor. Layout of a frame: ISO/IEC 11172-3, section 2.4; of the tag in a first frame: Xing, LAME, VBRI.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.source import Content, Pieces

_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates (kbit/s) by version (2 stands for 2.5 too) and layer; layer 3 of version 2 has those of layer 2."""
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Sample rates (Hz) by the header's two version bits."""
_SLACK = 1
"""Frames by which a header's count may be too high: some encoders count the frame that holds the count."""
_LARGEST_FRAME = 2881
"""Largest size of a frame, in bytes."""
_MOST_ZEROS = 1 << 16
"""Most zero bytes that may precede the first frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    """Contents of the four bytes at a frame's start."""

    kind: tuple[int, int, int, int]
    """Version, layer, rate and channels; where one of them changes, a new decoder must take over."""
    length: int
    """Length of the frame in bytes."""
    tag: int
    """Offset of a Xing or LAME tag in a first frame, in bytes."""


@dataclass(kw_only=True)
class MpegPart:
    """Successive frames of one kind: the output of one encoder."""

    content: Content
    kind: tuple[int, int, int, int]
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each run of frames; bytes between runs are not audio."""
    frames: int = 0
    """Number of frames found, without the one that holds a tag."""
    tagged: int = 0
    """Bytes of the frame that holds a tag, which begins the first of `ranges`; 0 where there is none."""
    claimed: int = 0
    """Number of frames according to the tag; 0 where it does not say."""

    def file(self, name: str) -> Pieces:
        """Return the bytes to decode, as a file. Raises AudioError where there are fewer frames than the tag claims."""
        if self.frames < self.claimed - _SLACK:
            raise AudioError(
                f"{name}: the file is cut off or damaged: its header claims {self.claimed:,} frames but only "
                f"{self.frames:,} are there. Fetch it again, or cut it properly with an audio tool"
            )
        ranges = list(self.ranges)
        if self.frames <= self.claimed:
            return Pieces([(self.content, *some) for some in ranges])
        if self.tagged:  # a decoder would rely on its count, which is too low or missing
            ranges[0] = (ranges[0][0] + self.tagged, ranges[0][1])
        return Pieces([(self.content, *some) for some in ranges], pretended=2 * _LARGEST_FRAME * (self.frames + 1))


def may_be_mpeg(head: bytes) -> bool:
    """Return whether a file may be MPEG audio, by its first bytes."""
    return head[:3] == b"ID3" or head[:1] in (b"\xff", b"\0")


def is_mpeg(content: Content) -> bool:
    """Return whether a file begins as MPEG audio, after any ID3 tags and zeros."""
    at = _after_tags(content, 0)
    zeros = content[at : at + _MOST_ZEROS]
    at += len(zeros) - len(zeros.lstrip(b"\0"))
    return _header(content[at : at + 4]) is not None


def mpeg_parts(content: Content) -> list[MpegPart]:
    """Find every frame; a new part begins where the kind of frame changes, and where another file was appended."""
    parts: list[MpegPart] = []
    at, end, in_step = 0, len(content), False
    while at + 4 <= end:
        header = _header(content[at : at + 4])
        if header is None or not ((in_step and header.kind == parts[-1].kind) or _is_confirmed(content, at, header)):
            at, in_step = _next_sync(content, at), False
            continue
        if at + header.length > end:
            break  # the last frame is incomplete and cannot be decoded
        tag, claimed = _tag(content, at, header)
        if tag or not parts or parts[-1].kind != header.kind:
            parts.append(MpegPart(content=content, kind=header.kind))
        part = parts[-1]
        if tag:
            part.tagged, part.claimed = header.length, claimed
        else:
            part.frames += 1
        if part.ranges and part.ranges[-1][1] == at:
            part.ranges[-1] = (part.ranges[-1][0], at + header.length)
        else:
            part.ranges.append((at, at + header.length))
        at, in_step = at + header.length, True
    return [part for part in parts if part.frames or part.claimed]


@functools.lru_cache(maxsize=4096)
def _header(head: bytes) -> _Header | None:
    """Read a frame's header; return None where the bytes are not one, or its bit rate is "free"."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_index == 3:
        return None
    rate = _RATES[version][rate_index]
    table = (1, layer) if version == 3 else (2, min(layer, 2))
    bits_per_second = 1000 * _KBITS[table][bits - 1]
    channels = 1 if head[3] >> 6 == 3 else 2
    if layer == 1:
        length = (12 * bits_per_second // rate + padding) * 4
    else:
        length = (72 if layer == 3 and version != 3 else 144) * bits_per_second // rate + padding
    side = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[version == 3, channels]
    checksum = 0 if head[1] & 1 else 2
    return _Header(kind=(version, layer, rate, channels), length=length, tag=4 + checksum + side)


def _is_confirmed(content: Content, at: int, header: _Header) -> bool:
    """Return whether another frame, a tag or the end follows: a lone header soon turns up by chance in any data."""
    after = at + header.length
    following = content[after : after + 4]
    another = _header(following)
    return (
        after >= len(content) - 4
        or (another is not None and another.kind[:3] == header.kind[:3])
        or following[:3] in (b"ID3", b"TAG", b"APE")
    )


def _tag(content: Content, at: int, header: _Header) -> tuple[bool, int]:
    """Return whether a frame holds a tag instead of audio, and the number of frames that the tag claims."""
    if header.kind[1] != 3:
        return False, 0
    xing = at + header.tag
    for where in {xing, at + header.tag & ~1}:  # LAME forgets the checksum's two bytes
        if content[where : where + 4] in (b"Xing", b"Info"):
            has_count = content[where + 7] & 1
            return True, int.from_bytes(content[where + 8 : where + 12], "big") if has_count else 0
    if content[at + 36 : at + 40] == b"VBRI":
        return True, int.from_bytes(content[at + 50 : at + 54], "big")
    return False, 0


def _after_tags(content: Content, at: int) -> int:
    """Return where the ID3v2 tags that begin at `at` end."""
    while content[at : at + 3] == b"ID3":
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, content[at + 6 : at + 10], 0)
        at += 10 + size
    return at


def _next_sync(content: Content, at: int) -> int:
    """Return where the next frame after `at` may begin."""
    if (after := _after_tags(content, at)) > at:
        return after
    found = content.find(b"\xff", at + 1)
    return found if found >= 0 else len(content)
