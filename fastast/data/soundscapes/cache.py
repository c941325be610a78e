"""Store mixed clips on disk, in blocks that are written whole or not at all.

Shapes: `c` clips, `w` samples of a clip, `k` classes.

A block consists of the SHA-256 of the rest, then one record per clip: its samples (int16, little-endian) and its labels
(one byte per class). A clip's bytes do not depend on how many were requested, so a block of a large set serves a small
one too.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.system.writing import remove_leftovers, write_whole

BLOCK_CLIPS = 100
"""Clips in a full block, and the most that a killed process loses."""
_DIGEST_BYTES = hashlib.sha256().digest_size


def default_folder() -> Path:
    """Return `$FASTAST_CACHE`, else `$XDG_CACHE_HOME/fastast`, else `~/.cache/fastast`."""
    own = os.environ.get("FASTAST_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastast"


def record_type(samples: int, classes: int) -> np.dtype[np.void]:
    """Return the data type of a record: one clip with its labels."""
    return np.dtype([("waveform", "<i2", (samples,)), ("labels", "u1", (classes,))])


@dataclass(frozen=True, kw_only=True)
class BlockStore:
    """The blocks of one split, length and version."""

    folder: Path
    """Folder that holds the blocks."""
    record: np.dtype[np.void]
    """Data type of a clip's record."""

    def path(self, block: int) -> Path:
        """Return the path of a block."""
        return self.folder / f"{block:05d}.clips"

    def read(self, block: int) -> NDArray[np.void]:
        """Return a block's records, (c,): none where its file is missing, or, with a warning, unreadable or damaged."""
        path = self.path(block)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return np.empty(0, self.record)
        except OSError as error:
            warnings.warn(f"{path}: cannot be read ({error.strerror}); mixed again", stacklevel=2)
            return np.empty(0, self.record)
        payload = content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST_BYTES] or len(payload) % self.record.itemsize:
            warnings.warn(f"{path}: damaged ({len(content):,} bytes, hash differs); mixed again", stacklevel=2)
            return np.empty(0, self.record)
        return np.frombuffer(payload, self.record)

    def write(self, block: int, records: NDArray[np.void]) -> bool:
        """Replace a block atomically: readers see the old file or the new one. On failure, warn and return False."""
        payload, path = records.tobytes(), self.path(block)
        try:
            remove_leftovers(self.folder)
            # Processes that mix the same clips concurrently replace whole files with identical ones.
            write_whole(path, hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            warnings.warn(
                f"{path}: cannot be kept ({error.strerror}), so these clips are mixed again next time; "
                "free some space, or set FASTAST_CACHE to a writable folder",
                stacklevel=2,
            )
            return False
        return True
