"""Identify files that libsndfile cannot read by their first bytes, and say what to do about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastast.data.decoding.source import Content

FORMATS = (
    "FastAST reads wav, flac, ogg (Vorbis or Opus), opus and mp3, and with PyAV "
    "(pip install 'fastast[media]') m4a, webm and other containers"
)
"""Last sentence of the error for a file that cannot be read."""

CODECS = {
    0x0022: "TrueSpeech",
    0x0028: "LRC",
    0x0042: "G.723.1",
    0x0045: "G.726",
    0x0050: "MPEG layer 2",
    0x0059: "G.723",
    0x0064: "G.726",
    0x0065: "G.722",
    0x0083: "G.729",
    0x0092: "AC-3",
    0x00FF: "AAC",
    0x0160: "Windows Media Audio 1 (WMA)",
    0x0161: "Windows Media Audio 2 (WMA)",
    0x0162: "Windows Media Audio Pro (WMA)",
    0x0163: "Windows Media Audio lossless (WMA)",
    0x0270: "ATRAC3",
    0x028F: "G.722",
    0x0706: "AAC",
    0x1600: "AAC",
    0x1610: "AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x4143: "AAC",
    0x674F: "Vorbis",
    0x704F: "Opus",
    0xA106: "AAC",
    0xA109: "Speex",
    0xF1AC: "FLAC",
    0xFFFE: "a codec that only its GUID names",
}
"""Codecs in WAV by their format tag, except those that libsndfile reads."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A container that PyAV reads."""

    name: str
    """Name of the format in messages."""
    demuxer: str
    """FFmpeg's name of the format. It is always passed on: if FFmpeg had to guess, it could take a file for a playlist,
    which opens other files."""


_PACKAGES = (
    (4, b"ftyp", FileKind(name="MPEG-4 audio or video (m4a, mp4)", demuxer="mov")),
    (4, b"moov", FileKind(name="QuickTime", demuxer="mov")),
    (4, b"mdat", FileKind(name="QuickTime", demuxer="mov")),
    (0, b"\x1a\x45\xdf\xa3", FileKind(name="Matroska or WebM", demuxer="matroska")),
    (0, b"\xff\xf1", FileKind(name="raw AAC", demuxer="aac")),
    (0, b"\xff\xf0", FileKind(name="raw AAC", demuxer="aac")),
    (0, b"\xff\xf9", FileKind(name="raw AAC", demuxer="aac")),
    (0, b"\xff\xf8", FileKind(name="raw AAC", demuxer="aac")),
    (0, b"\x30\x26\xb2\x75", FileKind(name="Windows Media (wma, wmv)", demuxer="asf")),
    (0, b"FLV\x01", FileKind(name="Flash video", demuxer="flv")),
    (0, b"\x00\x00\x01\xba", FileKind(name="MPEG video", demuxer="mpeg")),
    (0, b"caff", FileKind(name="Core Audio (caf)", demuxer="caf")),
    (0, b"wvpk", FileKind(name="WavPack", demuxer="wv")),
    (0, b"MAC ", FileKind(name="Monkey's Audio", demuxer="ape")),
    (0, b"TTA1", FileKind(name="True Audio", demuxer="tta")),
    (0, b"#!AMR", FileKind(name="AMR speech", demuxer="amr")),
    (0, b"\x0b\x77", FileKind(name="raw AC-3", demuxer="ac3")),
)
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK", "a zip archive; unpack it"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x00\x05\x16\x07", "an AppleDouble companion file, which holds no audio; leave it out"),
    (b"\x89HDF", "an HDF5 file; fastast data check says whether it is a data set"),
    (b"PAR1", "a Parquet file; fastast data check says whether it is a data set"),
    (b"MThd", "MIDI, which holds notes, not sound; render it"),
    (b"<", "HTML or XML text, perhaps a web page that was saved in its place"),
)
_SOUND = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"FORM")
"""First bytes of files that libsndfile reads."""


def packaged_codec(content: Content) -> FileKind | None:
    """Return the container by a file's first bytes, if it is one that libsndfile cannot read but PyAV may."""
    head = content[:16]
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        name = _wav_codec(content)
        return FileKind(name=name, demuxer="wav") if name else None
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return FileKind(name="AVI video", demuxer="avi")
    if head[:4] == b"OggS":
        for magic, codec in ((b"\x7fFLAC", "FLAC"), (b"Speex   ", "Speex"), (b"\x80theora", "Theora video")):
            if magic in content[:512]:
                return FileKind(name=f"Ogg with {codec}", demuxer="ogg")
        return None
    for offset, magic, kind in _PACKAGES:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None


def describe_file(content: Content, name: str) -> str:
    """Say what a file that could not be read looks like, and what to do."""
    head, path = content[:64], Path(name)
    if (kind := packaged_codec(content)) is not None:
        return (
            f"not readable: this is {kind.name}. Install PyAV (pip install 'fastast[media]'), or convert it: "
            f"ffmpeg -i {path.name!r} {path.stem}.wav"
        )
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return f"not readable: this is {what}"
    if head.startswith(_SOUND):
        return "begins as an audio file but is cut off or damaged; fetch it again"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return f"not audio but text that begins with {head[:24]!r}"
    return f"not an audio format that FastAST knows; it begins with the bytes {head[:8]!r}"


def _wav_codec(content: Content) -> str:
    """Name the codec of a WAV if libsndfile does not read it; empty where the codec is not the problem."""
    if content[:4] == b"BW64":
        return "a BW64 file, a WAV for broadcasters"
    at = 12
    while at + 26 <= len(content):
        chunk, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if chunk == b"fmt ":
            tag = int.from_bytes(content[at + 8 : at + 10], "little")
            if tag == 0xFFFE and size >= 40:
                tag = int.from_bytes(content[at + 32 : at + 34], "little")
            if tag in CODECS:
                return f"{CODECS[tag]} in a WAV (format tag 0x{tag:04x})"
            return "" if tag in _READ else f"an unknown codec in a WAV (format tag 0x{tag:04x})"
        at += 8 + size + size % 2
    return ""


_READ = (0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0x0038, 0x0040, 0x0055)
"""Format tags that libsndfile reads: a file with one of these that fails to open is damaged."""
