"""Read clips from large files of thousands (shards): find those of a split, and use their rows as a data set."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fastast.data.clip_files import subfolders
from fastast.data.folders import ListedSet, fingerprint_of
from fastast.data.split_names import split_of_path
from fastast.data.training_set import DataError, SplitNotFoundError
from fastast.names import in_one_line

MOST_OPEN = 128
"""Most files that a thread keeps open: a process is often allowed 1,024, and a cache of AudioSet has 8,000."""


class Closable(Protocol):
    """An open file of any library."""

    def close(self) -> None:
        """Close it."""


Opened = TypeVar("Opened", bound=Closable)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRow:
    """A clip in a shard, with its labels."""

    id: str
    """Id of the clip in its data set."""
    shard: Path
    """Path of the shard."""
    index: int
    """Row of the clip in the shard."""
    columns: tuple[int, ...]
    """Label columns of the clip's classes."""


class ShardSet(ListedSet[ShardRow]):
    """Clips that are rows of shards."""

    def name(self, index: int) -> str:
        """Return the file, row and id of the clip."""
        row = self.entries[index]
        return f"{row.shard}, row {row.index} ({row.id})"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the ids, and of the size and modification time of every file with audio."""
        ids = " ".join(row.id for row in self.entries)
        named = enumerate(self.files(range(len(self))))
        return fingerprint_of((f"{ids if not number else ''} {name}", path) for number, (name, path) in named)

    def files(self, indices: Sequence[int]) -> Iterator[tuple[str, Path]]:
        """Yield the name and path of every file that holds audio of these clips: their shards, once each."""
        for shard in dict.fromkeys(self.entries[index].shard for index in indices):
            yield shard.name, shard


class OpenFiles(Generic[Opened]):
    """Files that stay open, opened once per thread and process, so that none is shared across a fork.

    With more than `MOST_OPEN`, the least recently requested is closed: finish with a file before requesting the next.
    """

    def __init__(self, opener: Callable[[Path], Opened]) -> None:
        self._opener = opener
        self._opened: defaultdict[tuple[int, int], OrderedDict[Path, Opened]] = defaultdict(OrderedDict)

    def __call__(self, path: Path) -> Opened:
        """Return the open file."""
        mine = self._opened[os.getpid(), threading.get_ident()]
        if path not in mine:
            mine[path] = self._opener(path)
            if len(mine) > MOST_OPEN:
                _, oldest = mine.popitem(last=False)
                oldest.close()
        mine.move_to_end(path)
        return mine[path]

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFiles, (self._opener,)


@contextmanager
def reading(shard: Path, kind: str, library: str, faults: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn a library's errors about a shard into a DataError that names it; let a DataError pass."""
    try:
        yield
    except DataError:
        raise
    except faults as error:
        raise DataError(
            f"{shard}: not readable as {kind}; fetch it again. {library} says: {in_one_line(error)}"
        ) from error


def find_shards(root: Path, split: str, patterns: Sequence[str], endings: Sequence[str]) -> list[Path]:
    """Return the shards of a split, sorted: those that match a pattern or, without patterns, are named after it.

    Raises SplitNotFoundError where there is none, and DataError where several folders or names could be meant.
    """
    if patterns:
        found = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
        if not found:
            raise SplitNotFoundError(f"{root}: nothing matches data.{split}, {', '.join(patterns)}")
        return found
    found = _named_after(split, root, endings)
    groups = {_pattern(root, path): None for path in found}
    if not found:
        raise SplitNotFoundError(
            f"{root}: no file is named after the split {split}; say which files it has: -s data.{split}=PATTERN, such "
            f"as data/{split}-*.{endings[0]}"
        )
    if len(groups) > 1:
        raise DataError(
            f"{root}: the split {split} could be {' or '.join(groups)}; say which: -s data.{split}={next(iter(groups))}"
        )
    return found


def split_is_clear(root: Path, split: str, endings: Sequence[str]) -> bool:
    """Return whether the names of shards leave no doubt about which make up a split."""
    return len({_pattern(root, path) for path in _named_after(split, root, endings)}) <= 1


def _named_after(split: str, root: Path, endings: Sequence[str]) -> list[Path]:
    return [path for path in shard_files(root, endings) if split_of_path(path.relative_to(root)) == split]


def _pattern(root: Path, path: Path) -> str:
    """Return a pattern for a shard and those that belong with it: `train-*.parquet` in the root, else `folder/*`."""
    if path.parent != root:
        return f"{path.parent.relative_to(root)}/*"
    return re.sub(r"\d+([-_]of[-_]\d+)?$", "*", path.stem) + path.suffix


def shard_files(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Yield the files below a folder that have one of these extensions, sorted by name within each folder."""
    yield from sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix[1:].lower() in endings
    )
    for below in subfolders(folder):
        yield from shard_files(below, endings)
