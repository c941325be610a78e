"""Access the bytes of an audio file, on disk or in memory."""

from __future__ import annotations

import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from fastast.data.decoding.errors import AudioError, AudioNotFoundError

Content = bytes | mmap.mmap
_HEAD = 4096
"""Bytes that suffice to recognise most formats."""
_MAPPED = 1 << 28
"""Size in bytes above which a file is memory-mapped, as reading it would take that much memory."""


class Source:
    """An encoded file, whose bytes are read on first use."""

    def __init__(self, name: str, where: Path | bytes, file: io.BufferedReader | None = None) -> None:
        self.name = name
        """Name in error messages: the file's path, or the table row that it comes from."""
        self.path = where if isinstance(where, Path) else None
        """Path of the file; None for bytes in memory."""
        self._where, self._file = where, file
        self.size = len(where) if isinstance(where, bytes) else os.fstat(file.fileno()).st_size  # type: ignore[union-attr]
        """Size in bytes."""

    @cached_property
    def head(self) -> bytes:
        """First bytes of the file, up to 4,096."""
        return self._where[:_HEAD] if self._file is None else self._read(_HEAD)  # type: ignore[index]

    @cached_property
    def content(self) -> Content:
        """All bytes of the file, memory-mapped where it is large."""
        if self._file is None:
            return self._where  # type: ignore[return-value]
        if self.size > _MAPPED:
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._read(-1)

    def _read(self, size: int) -> bytes:
        assert self._file is not None
        try:
            self._file.seek(0)
            return self._file.read(size)
        except OSError as error:
            raise AudioError(f"{self.name}: cannot be read: {error.strerror or error}") from error


@contextmanager
def open_source(where: str | Path | bytes, name: str = "") -> Iterator[Source]:
    """Open a path, or the bytes of an encoded file, which error messages call `name`.

    Raises AudioError for a path that does not exist or is not a regular file, and for a file that is unreadable or
    empty.
    """
    if isinstance(where, bytes):
        _check_size(name, len(where))
        yield Source(name, where)
        return
    path = Path(where)
    _check_size(str(path), _size(path))
    try:
        file = path.open("rb")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error
    with file:
        yield Source(str(path), path, file)


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise AudioError(f"{path}: a link to a file that does not exist") from error
        raise AudioNotFoundError(f"{path}: there is no such file") from error
    except OSError as error:  # a link to itself, a folder that may not be entered
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: not a file but a folder; give its files, such as {path}/*.wav")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: not a regular file but a pipe, socket or device; give an audio file")
    return status.st_size


def _check_size(name: str, size: int) -> None:
    if size == 0:
        raise AudioError(f"{name}: the file is empty (0 bytes), perhaps an interrupted download; fetch it again")


class Pieces(io.RawIOBase):
    """Ranges of buffers, concatenated into a file for decoders.

    With `pretended`, the file seems to be that many bytes longer: a decoder that estimates the length from the size of
    the file then estimates too much rather than too little, and reads to the actual end.
    """

    def __init__(self, pieces: list[tuple[Content, int, int]], *, pretended: int = 0) -> None:
        self._pieces = pieces
        self._starts = [0]
        for _, start, end in pieces:
            self._starts.append(self._starts[-1] + end - start)
        self._pretended = pretended
        self._at = 0
        self._piece = 0

    @property
    def exhausted(self) -> bool:
        """Whether all bytes have been read."""
        return self._at >= self._starts[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._starts[-1] + self._pretended
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence])
        self._piece = 0
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done, size = 0, len(view)
        while done < size and self._at < self._starts[-1]:
            while self._starts[self._piece + 1] <= self._at:
                self._piece += 1
            content, start, _ = self._pieces[self._piece]
            count = min(size - done, self._starts[self._piece + 1] - self._at)
            first = start + self._at - self._starts[self._piece]
            view[done : done + count] = content[first : first + count]
            self._at += count
            done += count
        if not done and self._pretended and self._at >= self._starts[-1] + self._pretended - _TAG:
            # Decoders look for a tag here before they begin.
            done = min(size, self._starts[-1] + self._pretended - self._at)
            view[:done] = bytes(done)
            self._at += done
        return done


_TAG = 128
"""Bytes of an ID3v1 tag, which is at the very end of a file."""
