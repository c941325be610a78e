"""What the data sets of audio files in folders share: clips by path, and reading of their tables.

Shapes: `s` samples of a clip, `c` classes.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioNotFoundError, load_audio
from fastast.data.training_set import DataError, DataNotFoundError, Task, one_hot

_NOT_UTF8 = re.compile("[\udc80-\udcff]+")
"""What Python's `surrogateescape` makes of bytes that are not UTF-8."""

_LOST = "there is no such file, although it was there when the data set was opened"

_MOST_DIGITS = 9
"""Of a number in a table: no index of a class is longer."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A file with its labels."""

    id: str
    """What the data set calls it wherever it lies: its name in the published tables."""
    path: Path
    """The file."""
    columns: tuple[int, ...]
    """Columns of the classes it has."""


class FolderSet:
    """Clips that lie in files."""

    def __init__(
        self, classes: tuple[str, ...], recordings: Sequence[Recording], *, task: Task, left_out: int = 0
    ) -> None:
        self.classes = classes
        self.task: Task = task
        self.recordings = tuple(recordings)
        self.left_out = left_out
        """Clips of the tables that are not there and were not asked for."""

    def __len__(self) -> int:
        return len(self.recordings)

    def id(self, index: int) -> str:
        """Return what the data set calls the clip."""
        return self.recordings[index].id

    def name(self, index: int) -> str:
        """Return the clip's path."""
        return str(self.recordings[index].path)

    def fingerprint(self) -> str:
        """Return the SHA-256 of every file's size and time of change. Raises DataNotFoundError for a lost one."""
        digest = hashlib.sha256()
        for recording in self.recordings:
            try:
                found = recording.path.stat()
            except FileNotFoundError:
                raise DataNotFoundError(f"{recording.path}: {_LOST}") from None
            digest.update(f"{recording.id} {found.st_size} {found.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read a clip: samples (s,) and labels (c,), the same every epoch."""
        recording = self.recordings[index]
        try:
            return load_audio(recording.path), self.labels(index, epoch)
        except AudioNotFoundError as error:  # it was there when the set was opened: not a corrupt clip, but a lost disk
            raise DataNotFoundError(f"{recording.path}: {_LOST}") from error

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """The labels (c,) of a clip."""
        return one_hot(self.recordings[index].columns, len(self.classes))

    def prepare(self) -> None:
        """Nothing to share: every process reads its own files."""


def check_root(root: str, what: str, holds: str) -> Path:
    """Return the folder of a data set. Raises DataError where none is named or it is not there."""
    if not root:
        raise DataError(f"data: root is not given; say where {what} lies: -s data.root=FOLDER (it holds {holds})")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DataNotFoundError(f"data: root: {path}: there is no such folder; {what} has {holds}")
    return path


def check_root_is_text(root: object) -> None:
    """Raise DataError where a recipe's `data.root` is no path."""
    if not isinstance(root, str):
        raise DataError(f"data: root is {root!r}; it must be text, the path of a folder")


def read_lines(path: Path, origin: str = "the data set") -> Iterator[tuple[int, str]]:
    """Yield number and text of every line. Raises DataError, naming the line, for one that is not UTF-8."""
    if not path.is_file():
        raise DataNotFoundError(f"{path}: there is no such file; it comes with {origin}")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if wrong := _NOT_UTF8.search(line):
                found = wrong.group().encode("utf-8", "surrogateescape")
                raise DataError(f"{path}, line {number}: {found!r} is not UTF-8; a table must be text in UTF-8")
            yield number, line


def read_rows(path: Path, origin: str = "the data set") -> Iterator[tuple[int, list[str]]]:
    """Yield line and values of every row of a CSV file. Raises DataError, naming the line, where it is none."""
    reader = csv.reader((text for _, text in read_lines(path, origin)), skipinitialspace=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; a table must be CSV, a row a line") from error


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header that has at least these columns: the line of every row, and its values."""
    rows = ((line, row) for line, row in read_rows(path) if row)
    _, names = next(rows, (0, []))
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; it must have {', '.join(columns)}")
    table = []
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {row!r} must be {len(names)} values: {', '.join(names)}")
        table.append((line, dict(zip(names, row, strict=True))))
    if not table:
        raise DataError(f"{path}: there is no row below the header")
    return table


def read_whole(where: str, name: str, text: str) -> int:
    """Return a table's whole number. Raises DataError that names place, column and value."""
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise DataError(f"{where}: {name} is {text!r}; it must be a whole number of at least 0")
    return int(text)


def refuse_missing(missing: Sequence[Path], total: int, table: Path, advice: str) -> None:
    """Raise DataNotFoundError, naming the first, if clips are not there."""
    if missing:
        raise DataNotFoundError(
            f"{missing[0]}: this clip of {table.name} is not there, and {len(missing) - 1} more of {total} are not "
            f"either; {advice}"
        )
