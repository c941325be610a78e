"""Audio file -> one channel of float32 samples at a known rate.

Shapes: `s` samples, `k` channels.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMATS = "wav, flac, ogg (Vorbis or Opus), opus and mp3"
"""What libsndfile decodes for us."""
RESAMPLER = "soxr HQ"
"""The resampler, for records: another one moves log-mel features by up to 1e-2."""
_STREAMED = 0x7FFFF000
"""A WAV whose length was not known when it was begun claims at least this many bytes."""
_MP3_SLACK = 1152
"""Samples (one MPEG frame) by which decoder and header of a sound MP3 may disagree."""
_MAGIC = (
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"ftyp", 4, "MPEG-4 audio or video (m4a, mp4)"),
    (b"\xff\xf1", 0, "raw AAC"),
    (b"\xff\xf9", 0, "raw AAC"),
    (b"\x30\x26\xb2\x75", 0, "Windows Media audio (wma)"),
    (b"\x1a\x45\xdf\xa3", 0, "Matroska or WebM"),
    (b"\x89PNG", 0, "a PNG picture"),
    (b"PK", 0, "a zip archive"),
    (b"<", 0, "HTML or XML text, perhaps a web page that was saved in its place"),
)


class AudioError(ValueError):
    """An audio file that cannot be used; the message names it and says what to do."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """An audio file that is not there."""


def load_audio(path: str | Path, *, sample_rate: int = 16_000) -> NDArray[np.float32]:
    """Decode a file to one channel, (s,), float32, nominally in [-1, 1], resampled to `sample_rate` (Hz).

    Channels are averaged. Reads wav, flac, ogg, opus and mp3, whatever the file is called.

    Raises AudioError for a path that is missing or a folder, and for a file that is empty, cut off, of another format,
    or holds no samples or NaN. A cut at the very border of two Ogg pages, or in an MP3 without a length in its header,
    cannot be seen: what is there is returned.
    """
    import soundfile

    path = Path(path)
    if not path.exists():
        raise AudioNotFoundError(f"{path}: there is no such file")
    if not path.is_file():
        raise AudioError(f"{path}: not a file but a folder; give one audio file ({FORMATS})")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes), perhaps a download that broke off; fetch it again")
    try:
        with soundfile.SoundFile(path) as file:
            claimed, rate, extra = file.frames, file.samplerate, file.extra_info
            kind = file.format
            samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)  # (s, k)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise AudioError(f"{path}: {_describe(path)}. FastAST reads {FORMATS}. libsndfile says: {error}") from error
    _check_whole(path, kind, claimed, len(samples), extra)
    if len(samples) == 0:
        raise AudioError(f"{path}: a {kind} file without a single sample; leave it out")
    mono = samples.mean(axis=1, dtype=np.float32)  # (s,)
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; repair the file or leave it out")
    if rate != sample_rate:
        import soxr

        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")  # (s * sample_rate / rate,)
        if len(mono) == 0:
            raise AudioError(f"{path}: {len(samples)} samples at {rate} Hz are none at {sample_rate} Hz; leave it out")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _describe(path: Path) -> str:
    """Say what a file that could not be decoded looks like, and what to do."""
    with path.open("rb") as file:
        head = file.read(64)
    for magic, offset, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            advice = "" if ";" in name or "text" in name else f"; convert it: ffmpeg -i {path.name!r} {path.stem}.wav"
            return f"not readable: this is {name}{advice}"
    for magic in (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3"):
        if head.startswith(magic):
            return "begins as an audio file but is cut off or damaged; fetch it again"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"not audio but text that begins with {head[:24]!r}"
    return f"not an audio format that is known here; it begins with the bytes {head[:8]!r}"


def _check_whole(path: Path, kind: str, claimed: int, decoded: int, extra: str) -> None:
    """Raise AudioError for a file that breaks off: libsndfile itself returns what is left without a word."""
    slack = _MP3_SLACK if kind.startswith("MP") else 0
    lost = f"its header tells of {claimed:,} samples, {decoded:,} are there" if decoded < claimed - slack else ""
    # libsndfile notes the data chunk of wav, aiff and their kin as: "data : 96000 (should be 47978)".
    for declared, there in re.findall(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", extra):
        if int(there) < int(declared) < _STREAMED:
            lost = f"its header tells of {int(declared):,} bytes of audio, {int(there):,} are there"
    if kind == "OGG" and _ogg_breaks_off(path):
        lost = "its last Ogg page is incomplete"
    if lost:
        raise AudioError(f"{path}: the file is cut off: {lost}. Fetch it again, or cut it properly with an audio tool")


def _ogg_breaks_off(path: Path) -> bool:
    """Whether the last page of an Ogg file goes on beyond its end (RFC 3533, section 6)."""
    tail = 1 << 17  # two pages of the greatest size there is
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - tail))
        end = file.read()
    page = end[max(0, end.rfind(b"OggS")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    lacing = page[27 : 27 + page[26]]
    return len(page) < 27 + page[26] + sum(lacing)
