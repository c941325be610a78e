"""Code that the data sets on disk share: lists of labelled clips, clips in files, and checks of options.

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
"""Longest file that counts as a clip: a model hears only its first seconds, and decoding the rest is wasted."""
MISSING = ("refuse", "leave out")
"""What may be done about clips that the tables list but that do not exist."""
_LOST = "there is no such file, although it was there when the data set was opened"


class Listed(Protocol):
    """An entry of a list of clips."""

    @property
    def id(self) -> str:
        """Name of the clip in the published tables, the same wherever the data is."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Columns of the clip's classes."""


Entry = TypeVar("Entry", bound=Listed)


class ListedSet(ABC, Generic[Entry]):
    """A list of labelled clips; a subclass says where their encoded bytes are."""

    def __init__(
        self,
        classes: Sequence[str],
        entries: Sequence[Entry],
        *,
        task: Task,
        missing: Sequence[str] = (),
        channels: str = "average",
    ) -> None:
        """Raise DataError where two clips have the same id."""
        self.classes = tuple(classes)
        self.task: Task = task
        self.entries = tuple(entries)
        self.missing = tuple(missing)
        """Ids of the clips that the tables list but that do not exist, and that may be left out."""
        self.channels = channels
        """How several channels become one, as in `load_audio`."""
        seen: set[str] = set()
        for entry in self.entries:
            if entry.id in seen:
                raise DataError(f"data: the clip {entry.id!r} appears twice in the tables of one split; remove one row")
            seen.add(entry.id)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def left_out(self) -> int:
        """Number of clips that the tables list but that do not exist."""
        return len(self.missing)

    @property
    def reading(self) -> dict[str, str]:
        """How audio is read: the rule for channels, the resampler and the decoder."""
        import soundfile

        decoder = f"libsndfile {soundfile.__libsndfile_version__}"
        return {"channels": self.channels, "resampler": RESAMPLER, "decoder": decoder}

    def id(self, index: int) -> str:
        """Return the id of a clip: its name in the data set."""
        return self.entries[index].id

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of a clip on this machine, for messages."""

    @abstractmethod
    def source(self, index: int) -> Path | bytes:
        """Return the file of a clip, or its encoded bytes."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of everything that determines the audio, without reading audio."""

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read a clip: samples (s,) and labels (c,), the same every epoch."""
        name = self.name(index)
        try:
            samples = load_audio(self.source(index), name=name, channels=self.channels, max_seconds=MAX_CLIP_SECONDS)
        except AudioNotFoundError as error:  # it existed when the set was opened: a lost disk, not a corrupt clip
            raise DataNotFoundError(f"{name}: {_LOST}") from error
        return samples, self.labels(index, epoch)

    def inspect(self, index: int) -> AudioFacts:
        """Decode a clip at its own rate and return its facts. Raises AudioError where it cannot be used."""
        source, name = self.source(index), self.name(index)
        reader = AudioReader(source, name=name, sample_rate=None, channels=self.channels, max_seconds=MAX_CLIP_SECONDS)
        for _ in reader:
            pass
        return reader.facts

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """Return the labels (c,) of a clip."""
        return one_hot(self.entries[index].columns, len(self.classes))

    def prepare(self) -> None:
        """Do nothing: every process reads for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """An audio file with its labels."""

    id: str
    """Name of the clip in the published tables, the same wherever the data is."""
    path: Path
    """Path of the file."""
    columns: tuple[int, ...]
    """Columns of the clip's classes."""


class FolderSet(ListedSet[Recording]):
    """Clips that are files of their own."""

    def __init__(self, classes: Sequence[str], entries: Sequence[Recording], **options: Any) -> None:
        """As in `ListedSet`. Also raises DataError where two ids are one file."""
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
        """The clips, in order."""
        return self.entries

    def name(self, index: int) -> str:
        """Return the clip's path."""
        return str(self.entries[index].path)

    def source(self, index: int) -> Path:
        """Return the clip's path."""
        return self.entries[index].path

    def fingerprint(self) -> str:
        """Return the SHA-256 of ids, sizes and modification times. Raises DataNotFoundError for a file that is gone."""
        return fingerprint_of((recording.id, recording.path) for recording in self.entries)


def fingerprint_of(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 of names, sizes and modification times. Raises DataNotFoundError for a file that is gone."""
    digest = hashlib.sha256()
    for name, path in files:
        try:
            found = path.stat()
        except FileNotFoundError:
            raise DataNotFoundError(f"{path}: {_LOST}") from None
        digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def check_root(root: str, what: str, holds: str) -> Path:
    """Return the folder of a data set. Raises DataError where none is given or it does not exist."""
    if not root:
        raise DataError(f"data: root is not given; say where {what} is: -s data.root=FOLDER (it holds {holds})")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DataNotFoundError(f"data: root: {path}: there is no such folder; it must hold {holds}")
    return path


def check_data_options(options: Any) -> None:
    """Raise DataError where a value in a recipe's `[data]` does not have its field's type or is not allowed.

    Checks only strings and lists of strings, and that `channels` and `missing` have one of their allowed values.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.type == "str" and not isinstance(value, str):
            kind = "text, the path of a folder" if field.name == "root" else "text"
            raise DataError(f"data: {field.name} is {value!r}; it must be {kind}")
        if field.type == "tuple[str, ...]" and not (
            isinstance(value, tuple | list) and all(isinstance(text, str) and text for text in value)
        ):
            shown = list(value) if isinstance(value, tuple) else value
            raise DataError(f"data: {field.name} is {shown!r}; it must be a list of strings")
        check_allowed(field.name, value, {"channels": CHANNELS, "missing": MISSING}.get(field.name, (value,)))


def check_allowed(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise DataError where a value is not one of those allowed."""
    if value not in allowed:
        raise DataError(f"data: {unknown_name(name, value, map(str, allowed))}")


def check_split(name: str, what: str) -> None:
    """Raise DataError where `name` is not train, val or test."""
    if name not in SPLITS:
        raise DataError(unknown_name(f"split of {what}", name, SPLITS))


def those_there(
    recordings: Sequence[Recording], missing: str, table: Path, advice: str
) -> tuple[list[Recording], list[str]]:
    """Return the clips whose file exists, and the ids of the others.

    Raises DataNotFoundError, naming the first, where clips are missing and `missing` is `refuse`; SplitNotFoundError
    where it is `leave out` and all clips are missing.
    """
    lost = [recording for recording in recordings if not recording.path.is_file()]
    if missing != "refuse" and len(lost) == len(recordings):
        raise SplitNotFoundError(
            f"{lost[0].path}: this clip of {table.name} is missing, as are all the others ({len(lost)} in all); "
            f"{advice}",
            listed=True,
        )
    if lost and missing == "refuse":
        raise DataNotFoundError(
            f"{lost[0].path}: this clip of {table.name} is missing (clips missing: {len(lost)} of "
            f'{len(recordings)}); {advice}, or leave them out: -s data.missing="leave out"'
        )
    gone = {recording.id for recording in lost}
    return [recording for recording in recordings if recording.id not in gone], [recording.id for recording in lost]


def index_labels(
    where: str, labels: Sequence[str], columns: dict[str, int], table: Path, advice: str
) -> tuple[int, ...]:
    """Return the columns of a clip's labels. Raises DataError for a label that is not in `table`."""
    for label in labels:
        if label not in columns:
            raise DataError(f"{where}: label {label!r} is not in {table}; {advice}")
    return tuple(columns[label] for label in labels)
