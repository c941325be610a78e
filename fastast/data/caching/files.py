"""Files of a cache: shards of many clips, each with an index, and one description of the whole.

`cache.json` describes the cache. `train-00000.clips` holds the clips of a shard, one after another, and
`train-00000.json` says where each begins, with its id, labels and checksum. The index is written last: a shard without
a valid one does not count. FLAC holds the decoded audio at 16 kHz as integers of 16 or 24 bits; a clip beyond full
scale is halved until it fits, and the index says how often. Filterbanks are those of `fastast.frontend.filterbank`,
unpadded and not normalised, in float16 (values are -16 to 12 and change by at most 0.004).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastast.data.training_set import DataError, DataNotFoundError
from fastast.metrics import Task
from fastast.system.writing import write_whole

DESCRIPTION = "cache.json"
FORMAT = 1
KINDS = ("flac", "flac24", "fbank")
"""Kinds of cache: FLAC with 16 bits, FLAC with 24 bits, or filterbanks in float16."""


@dataclass(frozen=True, kw_only=True)
class CacheDescription:
    """What a cache holds, and how it was made."""

    kind: str
    """Kind of the cache, one of KINDS."""
    data_set: str
    """Name of the data set that the cache was made from."""
    options: dict[str, Any]
    """Options of that data set, without its location and options added later that are at their defaults."""
    classes: tuple[str, ...]
    """Names of the classes."""
    task: Task
    """Task of the data set, which decides its metric."""
    reading: dict[str, Any]
    """How audio was read: sample rate, channels, resampler, decoder; and the mel bins of filterbanks."""
    shard_clips: int
    """Most clips in a shard."""
    splits: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Split -> its `clips`, `ids_sha256` and `missing` (ids of missing clips); or `same_as`, a split of equal clips."""

    def write(self, folder: Path) -> None:
        """Write the description, whole or not at all."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        write_whole(folder / DESCRIPTION, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> CacheDescription:
        """Read the description. Raises DataError where it is missing, damaged, or in another format version."""
        path = folder / DESCRIPTION
        if not path.is_file():
            raise DataNotFoundError(
                f"{path}: there is no such file; make a cache with: fastast data cache DIR --out ..."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != FORMAT:
                raise DataError(f"{path}: format {version}; this FastAST reads format {FORMAT}: make the cache again")
            return cls(**{**content, "classes": tuple(content["classes"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: damaged ({error}); make the cache again in another folder") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedClip:
    """A clip in a shard."""

    id: str
    """Id of the clip in the data set."""
    columns: tuple[int, ...]
    """Columns of the clip's classes."""
    at: int = 0
    """Offset of the clip's bytes in the shard."""
    size: int = 0
    """Number of bytes."""
    crc: int = 0
    """CRC-32 of the bytes."""
    halved: int = 0
    """Number of times the samples were halved to fit."""
    bins: int = 0
    """Mel bins of a filterbank; 0 for FLAC."""
    fault: str = ""
    """Why the clip could not be read when the cache was made (it then has no bytes); else empty."""


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """Index of a shard: what it was made from and where each clip is."""

    source: str
    """Hash of what the shard was made from: ids and labels of the clips, and names, sizes and times of their files."""
    sha256: str
    """SHA-256 of the file of clips."""
    clips: tuple[CachedClip, ...]
    """Clips of the shard, in the order of the set."""

    def write(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        rows = [
            {key: value for key, value in dataclasses.asdict(clip).items() if value not in (0, "")}
            for clip in self.clips
        ]
        write_whole(path, json.dumps({"source": self.source, "sha256": self.sha256, "clips": rows}).encode())

    @classmethod
    def read(cls, path: Path) -> ShardIndex:
        """Read the index. Raises DataError where it is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            clips = tuple(CachedClip(**{**row, "columns": tuple(row["columns"])}) for row in content["clips"])
            return cls(source=content["source"], sha256=content["sha256"], clips=clips)
        except FileNotFoundError as error:
            raise DataNotFoundError(
                f"{path}: this part of the cache was never made; run fastast data cache again"
            ) from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it and run fastast data cache again") from error


def shard_paths(folder: Path, split: str, number: int) -> tuple[Path, Path]:
    """Return the paths of a shard's clips and of its index."""
    stem = f"{split}-{number:05d}"
    return folder / f"{stem}.clips", folder / f"{stem}.json"
