"""Writing a file, or a folder of files, whole or not at all, and so that a power cut does not take it back."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp")
_COUNT = itertools.count()
"""Tells apart what threads of one process write to the same place."""


def check_target(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise ValueError, before any work is done, for a file that could not be written, or that is one of `inputs`."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder is there; name a file")
    for given in map(Path, inputs):
        if path.exists() and given.exists() and path.samefile(given):
            raise ValueError(f"{path}: it is read, and would be replaced by what is made of it; name another file")
    if not path.exists() or path.is_file():  # a pipe or device is written as it is
        check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise ValueError, before any work is done, for a folder that files could not be written to, or made in."""
    there = next(above for above in (folder, *folder.parents, Path()) if above.exists())
    if not there.is_dir():
        raise ValueError(f"{there}: a file, and a folder is needed there; name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there}: nothing can be written into this folder; name another, or change its permissions")


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a crash leaves the old file or the new one, never half of one.

    Raises OSError naming the path where the disk is full or the folder cannot be written.
    """
    write_together({path: content})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files, each as `write_whole` does; the disk is waited for together, which takes far less time.

    Raises OSError naming the path that could not be written. Files of before may be written then, each whole.
    """
    said = "nothing was written"
    path = Path()
    with ExitStack() as stack:
        try:
            opened = {}
            for path, content in files.items():
                temporary = stack.enter_context(_beside(path))
                file = opened[path] = stack.enter_context(temporary.open("wb"))
                file.write(content)
                file.flush()
            for path in opened:  # said of it, should this fail
                os.fsync(opened[path].fileno())
                opened[path].close()
            for path, file in opened.items():
                os.replace(file.name, path)
            said = "it was written, but a power cut may undo that"
            for folder in dict.fromkeys(path.parent for path in files):
                sync(folder)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror or error}: {said}", str(path)) from None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the block a path beside the target to write to, and rename it when the block ends without an error.

    A target that is no plain file, such as a pipe or /dev/stdout, is given as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    with _beside(path) as temporary:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give the block a path that nobody else has beside `path`, whose folder is made, and remove what is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{next(_COUNT)}.{os.getpid()}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):  # of a disk that went away, what is wrong has been said
            temporary.unlink(missing_ok=True)


def place_whole(source: Path, target: Path) -> None:
    """Rename a folder whose files are written: after a power cut it is there with all of them, or not there.

    source: on the same disk. Raises OSError where the disk refuses, or where something is at `target`.
    """
    for path in sorted(source.rglob("*"), reverse=True):  # what is in a folder before the folder
        sync(path)
    sync(source)
    os.rename(source, target)
    sync(target.parent)


def remove_leftovers(folder: Path, *, locked: bool = False) -> None:
    """Remove what processes that were killed left half-written in a folder, if there is one.

    locked: nobody else writes there, so that no process needs to be looked for.
    """
    for path in folder.glob(".*.tmp"):
        found = _LEFTOVER.fullmatch(path.name)
        if found and (locked or not _lives(int(found[1]))):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def sync(path: Path) -> None:
    """Write a file, or the names that are in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
