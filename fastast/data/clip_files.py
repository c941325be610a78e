"""Clips on disk: which files of a folder are audio, and where a data set begins below a given folder."""

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
"""File extensions of audio; of files that differ only in the extension, the one that is first here is used."""
_SKIPPED = ("__MACOSX",)
"""Folders to ignore, which archives made on macOS contain."""


def is_clip(name: str) -> bool:
    """Return whether a file name may be that of a clip: `._a.wav` is not, as macOS puts such files next to `a.wav`."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in ENDINGS


def clip_files(folder: Path, *, lost: bool = False) -> Iterator[Path]:
    """Yield the clips below a folder, sorted by name; links are followed, but never in a circle.

    With `lost`, also yield broken links with the name of a clip, such as those to files that git-annex has not fetched.
    Raises DataError for a folder that cannot be read.
    """
    yield from _below(folder, frozenset(), ("file", "lost") if lost else ("file",))


def _below(folder: Path, above: frozenset[tuple[int, int]], kinds: tuple[str, ...]) -> Iterator[Path]:
    """Yield the clips below a folder; `above` holds device and inode of the folders that lead to it."""
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
    """Return `file` or `folder`, following links; `lost` for a broken link; empty for a pipe and the like."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() else "" if os.path.exists(entry) else "lost"
    except OSError:  # a link to itself
        return "lost"


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without hidden ones and links to the folder or one above it."""
    try:
        own = folder.resolve()
        found = sorted(path for path in folder.iterdir() if path.is_dir())
        found = [path for path in found if not (path.is_symlink() and own.is_relative_to(path.resolve()))]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return [path for path in found if not path.name.startswith(".") and path.name not in _SKIPPED]


def has_clips(folder: Path) -> bool:
    """Return whether there is a clip in a folder or below it, fetched or not."""
    return next(clip_files(folder, lost=True), None) is not None


def sole_folders(folder: Path, *, depth: int = 2) -> list[Path]:
    """Return a folder, and those below it that are each the only one with clips, as unpacking adds them.

    Stops at a folder that holds clips itself, and before one that is named like a split.
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
    """Return where a data set begins: the folder, or the nearest one below it, that holds one of the marks.

    Unpacking often adds a level or two. If no folder holds a mark, return the given one. Raises DataError if two on one
    level do.
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
