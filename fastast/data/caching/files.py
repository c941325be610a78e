"""Files of a cache: many clips in one file, an index beside it, and one description of the whole.

`cache.json` describes the set; `train-00000.clips` holds the clips of a shard, one after another, and
`train-00000.json` where each begins, with its id, its labels and a checksum. A shard without a valid index is no shard:
the index is written last. FLAC holds what was decoded, at 16 kHz, as integers of 16 or 24 bits; a clip that goes beyond
full scale is halved until it fits, and the index says how often. A filterbank is that of `fastast.frontend.filterbank`,
unpadded and not normalised, in float16 (the values are -16 to 12: they move by 0.004 at most).
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
"""FLAC of 16 bits, FLAC of 24 bits, or the filterbank in float16."""


@dataclass(frozen=True, kw_only=True)
class CacheDescription:
    """What a cache holds, and how it came about."""

    kind: str
    """One of KINDS."""
    data_set: str
    """Name of the data set that it was made of."""
    options: dict[str, Any]
    """That set's options, but for where it lay."""
    classes: tuple[str, ...]
    """Names of the classes."""
    task: Task
    """How it is scored."""
    reading: dict[str, Any]
    """How audio was read: channels, resampler, decoder; of a filterbank its mel bins."""
    shard_clips: int
    """Clips of a shard."""
    splits: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Of every split: `clips`, `ids_sha256` and `missing` (ids that were not there); or `same_as`, another split."""

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        write_whole(folder / DESCRIPTION, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> CacheDescription:
        """Read it. Raises DataError where it is not there, damaged, or of a later version."""
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
    """What the data set calls it."""
    columns: tuple[int, ...]
    """Columns of its classes."""
    at: int = 0
    """Where its bytes begin."""
    size: int = 0
    """How many there are."""
    crc: int = 0
    """CRC-32 of them."""
    halved: int = 0
    """How often its samples were halved to fit."""
    bins: int = 0
    """Mel bins of a filterbank."""
    fault: str = ""
    """Why it could not be read when the cache was made; it has no bytes then."""


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What a shard holds."""

    source: str
    """Hash of what it was made of: names, sizes and times of change of the clips, and their labels."""
    sha256: str
    """Of the clips' file."""
    clips: tuple[CachedClip, ...]
    """In the order of the set."""

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        rows = [
            {key: value for key, value in dataclasses.asdict(clip).items() if value not in (0, "")}
            for clip in self.clips
        ]
        write_whole(path, json.dumps({"source": self.source, "sha256": self.sha256, "clips": rows}).encode())

    @classmethod
    def read(cls, path: Path) -> ShardIndex:
        """Read it. Raises DataError where it is not there or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            clips = tuple(CachedClip(**{**row, "columns": tuple(row["columns"])}) for row in content["clips"])
            return cls(source=content["source"], sha256=content["sha256"], clips=clips)
        except FileNotFoundError as error:
            raise DataNotFoundError(f"{path}: this part of the cache was never made; go on making it") from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it and go on making the cache") from error


def shard_paths(folder: Path, split: str, number: int) -> tuple[Path, Path]:
    """Return the paths of a shard's clips and of its index."""
    stem = f"{split}-{number:05d}"
    return folder / f"{stem}.clips", folder / f"{stem}.json"
