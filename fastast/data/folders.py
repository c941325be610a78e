"""What the data sets of audio files in folders share: clips by path, and reading of their tables.

Shapes: `s` samples of a clip, `c` classes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioNotFoundError, load_audio
from fastast.data.training_set import DataError, DataNotFoundError, one_hot


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A file with its labels."""

    path: Path
    """The file."""
    columns: tuple[int, ...]
    """Columns of the classes it has."""


class FolderSet:
    """Clips that lie in files."""

    def __init__(self, classes: tuple[str, ...], recordings: Sequence[Recording], *, left_out: int = 0) -> None:
        self.classes = classes
        self.recordings = tuple(recordings)
        self.left_out = left_out
        """Clips of the tables that are not there and were not asked for."""

    def __len__(self) -> int:
        return len(self.recordings)

    def name(self, index: int) -> str:
        """Return the clip's path."""
        return str(self.recordings[index].path)

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read a clip: samples (s,) and labels (c,), the same every epoch."""
        try:
            return load_audio(self.recordings[index].path), self.labels(index, epoch)
        except AudioNotFoundError as error:  # it was there when the set was opened: not a corrupt clip, but a lost disk
            raise DataNotFoundError(f"{error}, although it was there when the data set was opened") from error

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


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header that has at least these columns."""
    if not path.is_file():
        raise DataNotFoundError(f"{path}: there is no such file; it comes with the data set")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}; it must have {', '.join(columns)}")
        return list(reader)


def refuse_missing(missing: Sequence[Path], total: int, table: Path, advice: str) -> None:
    """Raise DataNotFoundError, naming the first, if clips are not there."""
    if missing:
        raise DataNotFoundError(
            f"{missing[0]}: this clip of {table.name} is not there, and {len(missing) - 1} more of {total} are not "
            f"either; {advice}"
        )
