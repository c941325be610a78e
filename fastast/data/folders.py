"""Clips of a list with their labels, and clips that lie in files: what the data sets on disk share.

Shapes: `s` samples of a clip, `c` classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import CHANNELS, RESAMPLER, AudioFacts, AudioNotFoundError, AudioReader, load_audio
from fastast.data.training_set import DataError, DataNotFoundError, SplitNotFoundError, one_hot
from fastast.metrics import Task
from fastast.names import unknown_name

SPLITS = ("train", "val", "test")
MAX_CLIP_SECONDS = 600.0
"""A file that is longer is no clip: a model hears its first seconds, and the rest would only be decoded."""
MISSING = ("refuse", "leave out")
"""What may be done about clips of the tables that are not there."""
_LOST = "there is no such file, although it was there when the data set was opened"


class Listed(Protocol):
    """An entry of a list of clips."""

    @property
    def id(self) -> str:
        """What the data set calls the clip wherever it lies: its name in the published tables."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Columns of the classes it has."""


Entry = TypeVar("Entry", bound=Listed)


class ListedSet(ABC, Generic[Entry]):
    """Clips of a list with their labels; a subclass says where their encoded bytes are."""

    def __init__(
        self,
        classes: Sequence[str],
        entries: Sequence[Entry],
        *,
        task: Task,
        missing: Sequence[str] = (),
        channels: str = "average",
    ) -> None:
        """Raises DataError where two clips have one id."""
        self.classes = tuple(classes)
        self.task: Task = task
        self.entries = tuple(entries)
        self.missing = tuple(missing)
        """Clips of the tables that are not there and may be left out."""
        self.channels = channels
        """What is made of several channels, as in `load_audio`."""
        seen: set[str] = set()
        for entry in self.entries:
            if entry.id in seen:
                raise DataError(f"data: the clip {entry.id!r} stands twice in the tables of one split; remove one row")
            seen.add(entry.id)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def left_out(self) -> int:
        """How many clips of the tables are not there."""
        return len(self.missing)

    @property
    def reading(self) -> dict[str, str]:
        """How audio is read: what is made of channels, by what it is resampled, by what it is decoded."""
        import soundfile

        decoder = f"libsndfile {soundfile.__libsndfile_version__}"
        return {"channels": self.channels, "resampler": RESAMPLER, "decoder": decoder}

    def id(self, index: int) -> str:
        """Return what the data set calls the clip."""
        return self.entries[index].id

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what a person here calls the clip."""

    @abstractmethod
    def source(self, index: int) -> Path | bytes:
        """Return the file of a clip, or the bytes of one."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of what the audio hangs on, without reading it."""

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read a clip: samples (s,) and labels (c,), the same every epoch."""
        name = self.name(index)
        try:
            samples = load_audio(self.source(index), name=name, channels=self.channels, max_seconds=MAX_CLIP_SECONDS)
        except AudioNotFoundError as error:  # it was there when the set was opened: not a corrupt clip, but a lost disk
            raise DataNotFoundError(f"{name}: {_LOST}") from error
        return samples, self.labels(index, epoch)

    def inspect(self, index: int) -> AudioFacts:
        """Decode a clip at its own rate and return what was met. Raises AudioError where it cannot be used."""
        source, name = self.source(index), self.name(index)
        reader = AudioReader(source, name=name, sample_rate=None, channels=self.channels, max_seconds=MAX_CLIP_SECONDS)
        for _ in reader:
            pass
        return reader.facts

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """The labels (c,) of a clip."""
        return one_hot(self.entries[index].columns, len(self.classes))

    def prepare(self) -> None:
        """Nothing to share: every process reads for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A file with its labels."""

    id: str
    """What the data set calls it wherever it lies: its name in the published tables."""
    path: Path
    """The file."""
    columns: tuple[int, ...]
    """Columns of the classes it has."""


class FolderSet(ListedSet[Recording]):
    """Clips that lie in files."""

    def __init__(self, classes: Sequence[str], entries: Sequence[Recording], **options: Any) -> None:
        """As a `ListedSet`. Raises DataError too where two ids are one file."""
        super().__init__(classes, entries, **options)
        ids: dict[Path, str] = {}
        for entry in self.entries:
            if (before := ids.setdefault(entry.path, entry.id)) != entry.id:
                raise DataError(
                    f"data: the clips {before!r} and {entry.id!r} of one split are one file, {entry.path}; remove one "
                    "row"
                )

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The files, in order."""
        return self.entries

    def name(self, index: int) -> str:
        """Return the clip's path."""
        return str(self.entries[index].path)

    def source(self, index: int) -> Path:
        """Return the clip's path."""
        return self.entries[index].path

    def fingerprint(self) -> str:
        """Return the SHA-256 of every file's size and time of change. Raises DataNotFoundError for a lost one."""
        return fingerprint_of((recording.id, recording.path) for recording in self.entries)


def fingerprint_of(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 of names, sizes and times of change. Raises DataNotFoundError for a file that was lost."""
    digest = hashlib.sha256()
    for name, path in files:
        try:
            found = path.stat()
        except FileNotFoundError:
            raise DataNotFoundError(f"{path}: {_LOST}") from None
        digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def check_root(root: str, what: str, holds: str) -> Path:
    """Return the folder of a data set. Raises DataError where none is named or it is not there."""
    if not root:
        raise DataError(f"data: root is not given; say where {what} lies: -s data.root=FOLDER (it holds {holds})")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DataNotFoundError(f"data: root: {path}: there is no such folder; {what} has {holds}")
    return path


def check_data_options(options: Any) -> None:
    """Raise DataError where a value in a recipe's `[data]` is not of its field's type, or no allowed one.

    Looks at texts and lists of texts; fields called `channels` and `missing` have few allowed values.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.type == "str" and not isinstance(value, str):
            kind = "text, the path of a folder" if field.name == "root" else "text"
            raise DataError(f"data: {field.name} is {value!r}; it must be {kind}")
        if field.type == "tuple[str, ...]" and not all(isinstance(text, str) and text for text in value):
            raise DataError(f"data: {field.name} is {list(value)!r}; it must be a list of texts")
        check_allowed(field.name, value, {"channels": CHANNELS, "missing": MISSING}.get(field.name, (value,)))


def check_allowed(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise DataError where a value is none of the allowed ones."""
    if value not in allowed:
        raise DataError(f"data: {unknown_name(name, value, map(str, allowed))}")


def check_split(name: str, what: str) -> None:
    """Raise DataError where there is no such split."""
    if name not in SPLITS:
        raise DataError(unknown_name(f"split of {what}", name, SPLITS))


def those_there(
    recordings: Sequence[Recording], missing: str, table: Path, advice: str
) -> tuple[list[Recording], list[str]]:
    """Return the clips whose file is there, and the ids of the others.

    Raises DataNotFoundError, naming the first, where clips are not there and `missing` is not `leave out`;
    SplitNotFoundError where it is, and not one is there.
    """
    lost = [recording for recording in recordings if not recording.path.is_file()]
    if missing != "refuse" and len(lost) == len(recordings):
        raise SplitNotFoundError(
            f"{lost[0].path}: this clip of {table.name} is not there, and neither is any other of {len(lost)}; "
            f"{advice}",
            listed=True,
        )
    if lost and missing == "refuse":
        raise DataNotFoundError(
            f"{lost[0].path}: this clip of {table.name} is not there, and {len(lost) - 1} more of {len(recordings)} "
            f'are not either; {advice}, or leave them out: -s data.missing="leave out"'
        )
    gone = {recording.id for recording in lost}
    return [recording for recording in recordings if recording.id not in gone], [recording.id for recording in lost]


def index_labels(
    where: str, labels: Sequence[str], columns: dict[str, int], table: Path, advice: str
) -> tuple[int, ...]:
    """Return the columns of a clip's labels. Raises DataError for a label that is no class of `table`."""
    for label in labels:
        if label not in columns:
            raise DataError(f"{where}: label {label!r} is not in {table}; {advice}")
    return tuple(columns[label] for label in labels)
