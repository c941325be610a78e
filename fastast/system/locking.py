"""A folder that one process at a time writes to: a locked file in it, whose lock is gone with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def take_lock(path: Path) -> int | None:
    """Return the descriptor of a locked file, None where another process has it.

    A file, not the folder: of a folder on NFS the lock would hold on this machine only.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass  # between the two looks at it
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it has just removed it


def release_lock(path: Path, descriptor: int) -> None:
    """Remove a file that this process has locked, and its lock."""
    with suppress(OSError):  # of a disk that went read-only; a file without a lock keeps nobody off
        path.unlink(missing_ok=True)  # before the lock goes, so that nobody locks a file without a name
    os.close(descriptor)
