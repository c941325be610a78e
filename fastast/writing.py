"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a crash leaves the old file or the new one, never half of one.

    Raises OSError naming the path where the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _keep_name(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror or error}: nothing was written", str(path)) from None
    finally:
        with suppress(OSError):  # of a disk that went away, what is wrong has been said
            temporary.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the block a path beside the target to write to, and rename it when the block ends without an error.

    A target that is no plain file, such as a pipe or /dev/stdout, is given as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        _keep_name(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _keep_name(folder: Path) -> None:
    """Write the folder itself to the disk: after a power cut the file would be there without its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
