"""Lock a folder, so that one process at a time writes to it, by a locked file whose lock ends with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def take_lock(path: Path) -> int | None:
    """Lock a file, creating it if necessary, and return its descriptor; None if another process has locked it.

    A file is locked, not the folder, because a folder's lock on NFS would hold on this machine only.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass  # it was removed between the two checks
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its previous owner has just removed it


def release_lock(path: Path, descriptor: int) -> None:
    """Remove a file that this process has locked, and release the lock."""
    with suppress(OSError):  # the disk may have become read-only; a file that is not locked blocks nobody
        path.unlink(missing_ok=True)  # before the lock is released, so that nobody locks a file without a name
    os.close(descriptor)
