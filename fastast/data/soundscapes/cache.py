"""Mixed clips on disk, in blocks that are written whole or not at all.

Shapes: `c` clips, `w` samples of a clip, `k` classes.

A block is the SHA-256 of the rest, then a record per clip: its samples (int16, little-endian) and its labels (a byte a
class). A clip's bytes do not depend on how many were asked for, so a block of a large set serves a small one.
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
"""Clips of a full block; what a killed process loses at most."""
_DIGEST_BYTES = hashlib.sha256().digest_size


def default_folder() -> Path:
    """Return `$FASTAST_CACHE`, else `$XDG_CACHE_HOME/fastast`, else `~/.cache/fastast`."""
    own = os.environ.get("FASTAST_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastast"


def record_type(samples: int, classes: int) -> np.dtype[np.void]:
    """Return the layout of one clip with its labels."""
    return np.dtype([("waveform", "<i2", (samples,)), ("labels", "u1", (classes,))])


@dataclass(frozen=True, kw_only=True)
class BlockStore:
    """The blocks of one split, length and version."""

    folder: Path
    """Where the blocks lie."""
    record: np.dtype[np.void]
    """Layout of a clip."""

    def path(self, block: int) -> Path:
        """Return a block's file."""
        return self.folder / f"{block:05d}.clips"

    def read(self, block: int) -> NDArray[np.void]:
        """Return a block's records, (c,), none if there are none; a damaged file is reported and counts as none."""
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
        """Replace a block: a reader sees the old file or the new one. Says so and returns False if the disk refuses."""
        payload, path = records.tobytes(), self.path(block)
        try:
            remove_leftovers(self.folder)
            # Processes that mix the same clips at once replace whole files by equal ones.
            write_whole(path, hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            warnings.warn(
                f"{path}: cannot be kept ({error.strerror}), so these clips are mixed again next time; "
                "free some space, or set FASTAST_CACHE to a folder that can be written",
                stacklevel=2,
            )
            return False
        return True
