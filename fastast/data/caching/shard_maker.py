"""Writes one shard of a cache, whole or not at all, unless the one that is there is still valid.

Shapes: `s` samples of a clip, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastast.data.caching.files import CachedClip, ShardIndex, shard_paths
from fastast.data.decoding import AudioError
from fastast.data.folders import FolderSet, ListedSet, fingerprint_of
from fastast.data.shards import ShardSet
from fastast.data.training_set import MIN_SAMPLES, DataError
from fastast.system.writing import write_whole

MEL_BINS = 128
"""Mel bins of stored filterbanks."""


@dataclass(frozen=True, kw_only=True)
class MadeShard:
    """A shard that is now in the cache."""

    is_new: bool
    """Whether it was written now; else it was there and is still valid."""
    clips: int
    """Number of its clips."""
    size: int
    """Its size in bytes."""
    faults: tuple[str, ...]
    """Faults of its clips that could not be read."""


class ShardMaker:
    """Makes shards; can be called in any process."""

    def __init__(self, sets: dict[str, ListedSet[Any]], out: Path, kind: str, shard_clips: int) -> None:
        self._sets, self._out, self._kind, self._shard_clips = sets, out, kind, shard_clips

    def __call__(self, which: tuple[str, int]) -> MadeShard:
        """Write a shard, unless an intact one made from the same clips exists and its faulty clips are still faulty."""
        split, number = which
        data = self._sets[split]
        indices = range(number * self._shard_clips, min((number + 1) * self._shard_clips, len(data)))
        source = _source_of(data, indices)
        path, index_path = shard_paths(self._out, split, number)
        kept = _kept(path, index_path, source)
        if kept is not None and self._can_be_mended(data, indices, kept):
            kept = None
        index = kept or self._make(data, indices, source, path, index_path)
        return MadeShard(
            is_new=kept is None,
            clips=len(index.clips),
            size=sum(clip.size for clip in index.clips),
            faults=tuple(clip.fault for clip in index.clips if clip.fault),
        )

    def _can_be_mended(self, data: ListedSet[Any], indices: range, index: ShardIndex) -> bool:
        """Return whether a clip that could not be read now can be: a disk is back, or a library was installed."""
        faulty = [position for position, clip in zip(indices, index.clips, strict=True) if clip.fault]
        return any(not _encode(data, position, self._kind)[1].fault for position in faulty)

    def _make(self, data: ListedSet[Any], indices: range, source: str, path: Path, index_path: Path) -> ShardIndex:
        contents, clips, at = [], [], 0
        for position in indices:
            content, clip = _encode(data, position, self._kind)
            contents.append(content)
            clips.append(replace(clip, at=at))
            at += len(content)
        whole = b"".join(contents)
        index = ShardIndex(source=source, sha256=hashlib.sha256(whole).hexdigest(), clips=tuple(clips))
        index_path.unlink(missing_ok=True)  # an old one would describe the wrong clips for a moment
        write_whole(path, whole)
        index.write(index_path)
        return index


def _source_of(data: ListedSet[Any], indices: range) -> str:
    """Return a hash of what a shard is made from, without reading audio."""
    labels = hashlib.sha256(repr([(data.id(i), data.entries[i].columns) for i in indices]).encode()).hexdigest()
    if isinstance(data, FolderSet):
        files = fingerprint_of((data.id(index), data.entries[index].path) for index in indices)
    elif isinstance(data, ShardSet):  # only files with these clips: others may change without invalidating this part
        files = fingerprint_of(data.files(indices))
    else:
        files = data.fingerprint()
    return hashlib.sha256(f"{labels} {files}".encode()).hexdigest()


def _kept(path: Path, index_path: Path, source: str) -> ShardIndex | None:
    """Return the index of a shard that was made from the same clips and is undamaged; else None."""
    try:
        index = ShardIndex.read(index_path)
        if index.source != source or path.stat().st_size != sum(clip.size for clip in index.clips):
            return None
        with path.open("rb") as file:
            return index if hashlib.file_digest(file, "sha256").hexdigest() == index.sha256 else None
    except (DataError, OSError):
        return None


def _encode(data: ListedSet[Any], position: int, kind: str) -> tuple[bytes, CachedClip]:
    """Return the bytes of a clip and its entry; if it cannot be read, no bytes and an entry with the fault."""
    clip = CachedClip(id=data.id(position), columns=data.entries[position].columns)
    try:
        samples, _ = data.clip(position, 0)  # (s,)
        if len(samples) < MIN_SAMPLES:
            raise AudioError(f"{data.name(position)}: {len(samples)} samples, less than one frame ({MIN_SAMPLES})")
    except AudioError as error:
        return b"", replace(clip, fault=str(error))
    if kind == "fbank":
        content, clip = _filterbank(samples), replace(clip, bins=MEL_BINS)
    else:
        content, halved = _flac(samples, bits=24 if kind == "flac24" else 16)
        clip = replace(clip, halved=halved)
    return content, replace(clip, size=len(content), crc=zlib.crc32(content))


def _filterbank(samples: NDArray[np.float32]) -> bytes:
    """Return the filterbank (f, m) of samples (s,), as bytes of float16."""
    import torch

    from fastast.frontend.filterbank import fbank

    with torch.inference_mode():
        return fbank(torch.from_numpy(samples)[None], num_mel_bins=MEL_BINS)[0].numpy().astype("<f2").tobytes()


def _flac(samples: NDArray[np.float32], *, bits: int) -> tuple[bytes, int]:
    """Return samples (s,) as FLAC, and how often they were halved to fit its range."""
    import soundfile

    halved, scale = 0, 2.0 ** (bits - 1)
    while True:
        whole = np.rint(samples.astype(np.float64) * (scale / 2**halved))
        if whole.max() < scale and whole.min() >= -scale:
            break
        halved += 1
    target = io.BytesIO()
    shifted = whole.astype(np.int32) << (32 - bits)  # libsndfile keeps the upper bits
    soundfile.write(target, shifted, 16_000, format="FLAC", subtype=f"PCM_{bits}")
    return target.getvalue(), halved
