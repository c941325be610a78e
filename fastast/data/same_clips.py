"""Identify a data set by its ids, labels and sounds, wherever its clips are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from fastast.data.audio import AudioError
from fastast.data.identity import hash_ids
from fastast.data.training_set import TrainingSet, all_ids

FILES, MIXTURES = 32, 4
"""Number of clips to sample, spread evenly over a set, as reading all files of a large one would take hours."""
LOOKED_AT = 1 << 16
"""Number of bytes read of each file."""


def identify(data: TrainingSet) -> dict[str, str]:
    """Return hashes of a set's `ids`, its `labels`, and its `sounds`: sizes and first bytes of a few clips.

    Modification times are ignored, so that a copy elsewhere is the same set. Where clips have no files, as with
    mixtures, a few are made, and their labels stand for all.
    """
    entries = getattr(data, "entries", None)
    labels = (
        (str(data.labels(index, 0).tolist()) for index in _spread(len(data), MIXTURES))
        if entries is None
        else (str(entry.columns) for entry in entries)
    )
    return {
        "ids": hash_ids(all_ids(data)),
        "labels": hash_ids([*data.classes, *labels]),
        "sounds": hashlib.sha256(b"".join(_sounds(data))).hexdigest(),
    }


def _spread(size: int, count: int) -> Iterator[int]:
    """Yield `count` positions spread evenly from the first to the last, or all if there are fewer."""
    count = min(size, count)
    return (place * (size - 1) // max(1, count - 1) for place in range(count))


def _sounds(data: TrainingSet) -> Iterator[bytes]:
    source = getattr(data, "source", None)
    for index in _spread(len(data), MIXTURES if source is None else FILES):
        try:
            content = data.clip(index, 0)[0].tobytes() if source is None else _head(source(index))
        except (AudioError, OSError):  # a corrupt clip must not keep the set from being identified
            content = b""
        yield hashlib.sha256(content).digest()


def _head(source: Path | bytes) -> bytes:
    """Return the size of a clip's file and its first bytes."""
    if isinstance(source, bytes):
        return f"{len(source)} ".encode() + source[:LOOKED_AT]
    with source.open("rb") as file:
        return f"{source.stat().st_size} ".encode() + file.read(LOOKED_AT)
