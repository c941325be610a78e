"""A cache of another data set, made by `fastast data cache`: the same clips, but faster to read.

Shapes: `s` samples of a clip, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioFacts, load_audio
from fastast.data.caching.files import DESCRIPTION, CachedClip, CacheDescription, ShardIndex, shard_paths
from fastast.data.decoding import AudioError
from fastast.data.folders import ListedSet, check_data_options, check_root, check_split
from fastast.data.identity import hash_ids
from fastast.data.shards import OpenFiles
from fastast.data.training_set import DataError, SplitNotFoundError


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The `[data]` section of a recipe for a cache."""

    root: str = ""
    """Folder of the cache."""

    def __post_init__(self) -> None:
        check_data_options(self)

    @classmethod
    def recognise(cls, root: Path) -> Cache | None:
        """Return the options that read a folder; None where it is not a cache."""
        return cls(root=str(root)) if (root / DESCRIPTION).is_file() else None

    @property
    def holds(self) -> dict[str, Any]:
        """What the cache holds, wherever it is: part of a run's identity, as another kind or reading changes results.

        Empty where there is no cache.
        """
        root = Path(self.root).expanduser()
        if not (root / DESCRIPTION).is_file():
            return {}
        found = CacheDescription.read(root)
        options = {f"data_set.{name}": value for name, value in found.options.items()}
        return {"kind": found.kind, "data_set": found.data_set, **options, "channels": found.reading["channels"]}

    def split(self, name: str) -> CachedSet:
        """Return a split.

        Raises SplitNotFoundError where the cache does not have it; DataError where a shard is missing or has the wrong
        size, or an index is damaged or of another state of the data set.
        """
        check_split(name, "the cache")
        root = check_root(self.root, "the cache", DESCRIPTION)
        description = CacheDescription.read(root)
        if name not in description.splits:
            there = ", ".join(description.splits) or "none"
            raise SplitNotFoundError(
                f"{root}: the cache has no split {name}; it has {there}. Run fastast data cache again, "
                f"with --split {name}"
            )
        known = description.splits[name]
        name = known.get("same_as", name)
        clips: list[CachedClip] = []
        shards: list[Path] = []
        hashes: list[str] = []
        count = description.splits[name]["clips"]
        for number in range(-(-count // description.shard_clips)):
            path, index = shard_paths(root, name, number)
            found = ShardIndex.read(index)
            size = sum(clip.size for clip in found.clips)
            if not path.is_file() or path.stat().st_size != size:
                raise DataError(f"{path}: missing or truncated; run fastast data cache again to restore this part")
            clips += found.clips
            shards += [path] * len(found.clips)
            hashes.append(found.sha256)
        if hash_ids([clip.id for clip in clips]) != description.splits[name]["ids_sha256"]:
            raise DataError(
                f"{root}: the parts of split {name} are from two states of the data set, as an update did not finish; "
                "run fastast data cache again"
            )
        missing = description.splits[name]["missing"]
        return CachedSet(description, clips, shards=shards, hashes=hashes, missing=missing)


class CachedSet(ListedSet[CachedClip]):
    """Clips in the shards of a cache."""

    def __init__(
        self,
        description: CacheDescription,
        clips: Sequence[CachedClip],
        *,
        shards: Sequence[Path],
        hashes: Sequence[str],
        missing: Sequence[str],
    ) -> None:
        """`shards` holds the file of every clip, `hashes` the SHA-256 of every shard."""
        super().__init__(description.classes, clips, task=description.task, missing=missing)
        self.description = description
        """Description of the cache and how it was made."""
        self._shards = shards
        self._hashes = hashes
        self._file = OpenFiles(_opened)

    @property
    def reading(self) -> dict[str, str]:
        """How audio was read when the cache was made, and the kind it was stored as."""
        return {**{key: str(value) for key, value in self.description.reading.items()}, "cache": self.description.kind}

    def name(self, index: int) -> str:
        """Return shard and id of the clip."""
        return f"{self._shards[index]} ({self.entries[index].id})"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the shards' hashes as they were written, so that a copy elsewhere has the same."""
        return hashlib.sha256(" ".join(self._hashes).encode()).hexdigest()

    def source(self, index: int) -> bytes:
        """Return the bytes of a clip. Raises AudioError where they have changed, or could never be made."""
        clip = self.entries[index]
        if clip.fault:
            raise AudioError(clip.fault)
        content = os.pread(self._file(self._shards[index]).fileno(), clip.size, clip.at)
        if zlib.crc32(content) != clip.crc:
            raise AudioError(
                f"{self.name(index)}: damaged since it was written; run fastast data cache again to restore this part"
            )
        return content

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read a clip: samples (s,), or the filterbank (f, m) in a cache of those; and labels (c,)."""
        clip, content = self.entries[index], self.source(index)
        if self.description.kind == "fbank":
            values = np.frombuffer(content, "<f2").reshape(-1, clip.bins).astype(np.float32)  # (f, m)
        else:
            values = load_audio(content, name=self.name(index)) * np.float32(2**clip.halved)  # (s,)
        return values, self.labels(index, epoch)

    def inspect(self, index: int) -> AudioFacts:
        """Read a clip and return its facts. Raises AudioError where it cannot be used."""
        if self.description.kind != "fbank":
            return super().inspect(index)
        features, _ = self.clip(index, 0)  # (f, m)
        if not np.isfinite(features).all():
            raise AudioError(f"{self.name(index)}: holds NaN or infinite values; make this part of the cache again")
        return AudioFacts(
            rates=(16_000,), channels=1, codec="fbank float16", seconds=0.015 + 0.01 * len(features), peak=1.0
        )


def _opened(path: Path) -> io.FileIO:
    return io.FileIO(path)
