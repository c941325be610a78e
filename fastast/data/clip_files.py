"""Clips on disk: which files of a folder are sound, and where a data set begins below the folder that was named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fastast.data.split_names import split_of
from fastast.data.training_set import DataError

ENDINGS = (
    "wav", "flac", "ogg", "oga", "opus", "mp3", "m4a", "mp4", "webm", "mkv", "mka", "aac", "wma", "aif", "aiff", "au",
    "caf", "w64", "wave", "aifc", "rf64", "snd", "sph", "voc", "mp2", "ac3", "amr", "wv", "3gp",
)  # fmt: skip
"""Endings of names that are taken for sound; of files that differ in nothing else, the first of these is taken."""
_SKIPPED = ("__MACOSX",)
"""Folders that archives of other systems bring along."""


def is_clip(name: str) -> bool:
    """Whether a file of that name may be a clip: `._a.wav` is none but a companion that macOS leaves beside `a.wav`."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in ENDINGS


def clip_files(folder: Path, *, lost: bool = False) -> Iterator[Path]:
    """Yield the clips below a folder, in the order of their names; links are followed, but never in a circle.

    `lost`: yield links of a clip's name that lead nowhere too, such as those of a file that git-annex has not fetched.
    Raises DataError for a folder that cannot be read.
    """
    yield from _below(folder, frozenset(), ("file", "lost") if lost else ("file",))


def _below(folder: Path, above: frozenset[tuple[int, int]], kinds: tuple[str, ...]) -> Iterator[Path]:
    """`above`: device and number of the folders that lead here."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    for entry in entries:
        kind = _kind(entry)
        if kind == "folder" and not entry.name.startswith(".") and entry.name not in _SKIPPED:
            yield from _below(folder / entry.name, above | {here}, kinds)
        elif kind in kinds and is_clip(entry.name):
            yield folder / entry.name


def _kind(entry: os.DirEntry[str]) -> str:
    """Return file or folder, behind any links; lost for a link that leads nowhere; empty for a pipe and the like."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() else "" if os.path.exists(entry) else "lost"
    except OSError:  # a link to itself
        return "lost"


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without hidden ones and links that lead back to where they lie."""
    try:
        own = folder.resolve()
        found = sorted(path for path in folder.iterdir() if path.is_dir())
        found = [path for path in found if not (path.is_symlink() and own.is_relative_to(path.resolve()))]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return [path for path in found if not path.name.startswith(".") and path.name not in _SKIPPED]


def has_clips(folder: Path) -> bool:
    """Whether a clip lies in a folder or below it, fetched or not."""
    return next(clip_files(folder, lost=True), None) is not None


def sole_folders(folder: Path, *, depth: int = 2) -> list[Path]:
    """Return a folder, and below it those that are the only one with clips, as unpacking adds them.

    Ends where clips lie in a folder themselves, and before a folder that is called like a split.
    """
    found = [folder]
    for _ in range(depth):
        below = [path for path in subfolders(found[-1]) if has_clips(path)]
        files = any(is_clip(path.name) and path.is_file() for path in found[-1].iterdir())
        if files or len(below) != 1 or split_of(below[0].name):
            break
        found.append(below[0])
    return found


def find_root(folder: Path, *marks: str, depth: int = 2) -> Path:
    """Return where a data set begins: the folder, or the nearest below it, that holds one of the marks.

    Unpacking often adds a level or two. Where no folder does, it is the given one. Raises DataError where two do.
    """
    level = [folder]
    for _ in range(depth + 1):
        found = [path for path in level if any((path / mark).exists() for mark in marks)]
        if len(found) > 1:
            raise DataError(
                f"{folder}: {found[0].relative_to(folder)} and {found[1].relative_to(folder)} both hold {marks[0]}; "
                "name one of them as data.root"
            )
        if found:
            return found[0]
        level = [below for path in level for below in subfolders(path)]
    return folder
