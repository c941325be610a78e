"""Write a file, or a folder of files, whole or not at all, and so that a power cut does not undo it."""

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
"""Distinguishes the temporary files of threads that write to the same path."""


def check_target(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise ValueError, before any work is done, for a file that cannot be written or that is one of `inputs`."""
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder; name a file")
    for given in map(Path, inputs):
        if path.exists() and given.exists() and path.samefile(given):
            raise ValueError(f"{path}: this is an input, and the output would overwrite it; name another file")
    if not path.exists() or path.is_file():  # a pipe or device is written as it is
        check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise ValueError, before any work is done, for a folder that cannot be made or written to."""
    there = next(above for above in (folder, *folder.parents, Path()) if above.exists())
    if not there.is_dir():
        raise ValueError(f"{there}: this is a file, but a folder is needed; name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there}: this folder cannot be written to; name another, or change its permissions")


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary file, then rename it: a crash leaves the old file or the new one, never part of one.

    Raises OSError, naming the path, if the disk is full or the folder cannot be written to.
    """
    write_together({path: content})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files, each as `write_whole` does, but wait for the disk once, which takes far less time.

    Raises OSError, naming the path that could not be written; earlier files may have been written by then, each whole.
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
            for path in opened:  # the error names this path, should it fail
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
    """Give the block a temporary path to write to, and rename it to the target when the block ends without an error.

    A target that is not a regular file, such as a pipe or /dev/stdout, is given as it is.
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
    """Give the block a unique path next to `path`, creating the folder if necessary, and remove what is left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{next(_COUNT)}.{os.getpid()}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):  # if the disk is gone, the error has been raised already
            temporary.unlink(missing_ok=True)


def place_whole(source: Path, target: Path) -> None:
    """Rename a folder of complete files: after a power cut it is there with all of them, or not at all.

    source: on the same disk. Raises OSError if the disk refuses, or if something exists at `target`.
    """
    for path in sorted(source.rglob("*"), reverse=True):  # a folder's contents before the folder
        sync(path)
    sync(source)
    os.rename(source, target)
    sync(target.parent)


def remove_leftovers(folder: Path, *, locked: bool = False) -> None:
    """Remove the temporary files that killed processes left in a folder, if it exists.

    locked: nobody else writes there, so it need not be checked whether their processes are still alive.
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
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
