"""Split an audio file into parts, each read by one decoder, and yield their samples in blocks.

Shapes: `s` samples of a block, `k` channels.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastast.data.decoding import media
from fastast.data.decoding.claims import UNKNOWN, check_bytes, check_notes, cut_off
from fastast.data.decoding.errors import AudioError
from fastast.data.decoding.kinds import FORMATS, describe_file, packaged_codec
from fastast.data.decoding.mpeg import is_mpeg, may_be_mpeg, mpeg_parts
from fastast.data.decoding.ogg import is_ogg, ogg_links
from fastast.data.decoding.part import Part, check_rate
from fastast.data.decoding.source import Pieces, Source
from fastast.data.decoding.wav_end import open_ended, unheard

if TYPE_CHECKING:
    import soundfile

BLOCK = 1 << 18
"""Samples, counted over all channels, that are decoded at a time: 1 MB."""
_MISLEADING = (".mp1", ".mp2", ".mp3", ".m1a", ".m2a", ".raw", ".gsm", ".vox", ".vox6", ".vox8", ".au", ".snd")
"""Extensions that would make libsndfile look for MPEG and print that it found none, or take any bytes for samples."""
_FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")
"""First bytes of a FLAC file (RFC 9639, section 8)."""
_FLAC_HEADER = 42
"""Bytes of the shortest FLAC header."""


def open_parts(source: Source) -> Iterator[Part]:
    """Yield the parts of a file, in order; read each before taking the next.

    Raises AudioError, in constant time and memory, for a file of another kind, one that its header shows to be cut off,
    and one whose header claims more samples than its size can hold.
    """
    import soundfile

    check_bytes(source)
    files: list[Any]
    if may_be_mpeg(source.head) and is_mpeg(source.content) and (parts := mpeg_parts(source.content)):
        files = [part.file(source.name) for part in parts]
    elif is_ogg(source.head):
        links = ogg_links(source.content, source.name)
        files = [_name_of(source)] if len(links) == 1 and links[0].is_finished else [link.file() for link in links]
    elif _is_flac_of_unknown_length(source):
        files = [None]  # read through `Pieces`, which knows when it is exhausted
    else:
        named = None if source.name.lower().endswith(_MISLEADING) else _name_of(source)
        files = [open_ended(source) or named]
    for file in files:
        whole = file or Pieces([(source.content, 0, len(source.content))])
        try:
            opened = _sequential()(whole)
        except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
            yield from _otherwise(source, error)
            return
        with opened:
            yield _part(source, opened, whole)


def _name_of(source: Source) -> bytes | None:
    """Return a file's name as the system stores it, which need not be UTF-8; None for bytes in memory."""
    return os.fsencode(source.path) if source.path else None


@functools.cache
def _sequential() -> Any:
    """Return the class that opens files; made on first use, as soundfile is imported late."""
    import soundfile

    class SequentialFile(soundfile.SoundFile):
        """A file that denies being seekable: otherwise soundfile seeks after every block, and MP3 loses a frame."""

        def seekable(self) -> bool:
            return False

    return SequentialFile


def _is_flac_of_unknown_length(source: Source) -> bool:
    """Return whether a FLAC states no length, as after encoding to a pipe (RFC 9639, section 8.2)."""
    total = int.from_bytes(source.head[18:26], "big") & (1 << 36) - 1
    return source.head[:4] == b"fLaC" and total == 0


def _otherwise(source: Source, error: Exception) -> Iterator[Part]:
    """Yield what PyAV decodes of a file that libsndfile cannot open. Raises AudioError where PyAV cannot help."""
    kind = packaged_codec(source.content)
    if kind is not None and media.is_installed():
        yield media.open_media(source, kind)
        return
    raise AudioError(f"{source.name}: {describe_file(source.content, source.name)}. {FORMATS}") from error


def _part(source: Source, file: soundfile.SoundFile, whole: Any) -> Part:
    check_notes(source, file)
    return Part(
        rate=check_rate(source.name, file.samplerate),
        channels=file.channels,
        codec=f"{file.format} {file.subtype}",
        blocks=_blocks(source, file, whole),
        unheard=unheard(source),
    )


def _blocks(source: Source, file: soundfile.SoundFile, whole: Any) -> Iterator[NDArray[np.float32]]:
    """Yield all samples of a file, (s, k). Raises AudioError where there are fewer than the header claims."""
    import soundfile

    size = max(1, BLOCK // file.channels)
    done, error = 0, None
    while error is None:
        # Samples that the decoder does not fill stay NaN: an error at the end must not cost the samples before it.
        block = np.full((size, file.channels), np.nan, np.float32)  # (s, k)
        try:
            count = len(file.read(out=block))
        except (soundfile.SoundFileError, OSError, ValueError) as found:
            error = found
            count = int(np.isfinite(block[:, 0]).sum())
        done += count
        if count:
            yield block[:count]
        if count < size:
            break
    if file.format == "MP3":
        return  # its frames have been counted
    if error is not None and file.frames >= UNKNOWN and isinstance(whole, Pieces) and whole.exhausted:
        return  # libsndfile reports the end of a FLAC of unknown length as an error
    if file.frames < UNKNOWN and done < file.frames:
        raise cut_off(source, f"{file.frames:,} samples", f"{done:,}")
    if done >= file.frames and (error is not None or done % size == 0):
        if _FLAC.search(source.content, _FLAC_HEADER):
            raise AudioError(f"{source.name}: another FLAC is appended to it, which would not be read; split the file")
        if done == file.frames:
            return  # whatever follows the samples that the header counts, such as a tag, is not audio
    if error is not None:
        raise AudioError(
            f"{source.name}: begins as {file.format} but is cut off or damaged after {done / file.samplerate:.2f} s; "
            f"fetch it again. libsndfile says: {error}"
        )
