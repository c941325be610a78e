"""Makes caches: writes shards in parallel, each whole or not at all, and keeps those that are still valid.

Shapes: `s` samples of a clip, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastast.data.caching.files import (
    DESCRIPTION,
    KINDS,
    CachedClip,
    CacheDescription,
    ShardIndex,
    shard_paths,
)
from fastast.data.datasets import DataOptions, asked
from fastast.data.decoding import AudioError
from fastast.data.folders import SPLITS, FolderSet, ListedSet, check_allowed, check_split, fingerprint_of
from fastast.data.identity import hash_ids
from fastast.data.parallel import each
from fastast.data.shards import ShardSet
from fastast.data.splits import check_classes
from fastast.data.training_set import MIN_SAMPLES, DataError, SplitNotFoundError, all_ids
from fastast.system.writing import remove_leftovers, write_whole

SHARD_CLIPS = 256
"""Clips in a shard: 40 MB at ten seconds each."""
MEL_BINS = 128


@dataclass(frozen=True, kw_only=True)
class CacheOutcome:
    """What a run of `make_cache` did."""

    made: int
    """Number of shards that this run wrote."""
    kept: int
    """Number of shards that were already there and are still valid."""
    clips: int
    """Number of clips in all shards."""
    skipped: tuple[str, ...]
    """Faults of the clips that could not be read; these stay in the lists, without samples."""
    size: int
    """Size of all shards in bytes."""
    absent: tuple[str, ...] = ()
    """Splits that the data set does not have, each with the reason."""

    @property
    def is_empty(self) -> bool:
        """Whether none of the clips could be read."""
        return len(self.skipped) == self.clips


def make_cache(
    name: str,
    options: DataOptions,
    out: Path,
    *,
    kind: str = "flac",
    splits: Sequence[str] = (),
    processes: int = 1,
    progress: bool = False,
    shard_clips: int = SHARD_CLIPS,
) -> CacheOutcome:
    """Write a cache of a data set's splits into `out`, or continue one, and return what was done.

    Each of `splits` must exist; if empty, all existing splits are cached. Raises DataError where `out` holds something
    else, or the cache of another data set or kind; SplitNotFoundError where a requested split or every split is absent.
    """
    check_allowed("kind", kind, KINDS)
    for split in splits:
        check_split(split, "the data")
    splits = [*splits, *_twins(out, splits)]
    sets: dict[str, ListedSet[Any]] = {}
    same: dict[str, str] = {}
    absent: dict[str, SplitNotFoundError] = {}
    for split in sorted(splits or SPLITS, key=("train", "test", "val").index):  # if val is test, it is stored as test
        try:
            data: Any = options.split(split)
        except SplitNotFoundError as error:
            if splits:
                raise
            absent[split] = error
            continue
        twin = next((other for other, known in sets.items() if all_ids(known) == all_ids(data)), None)
        if twin is None:
            sets[split] = data
        else:
            same[split] = twin
    if not sets:
        raise absent["train"]
    check_classes(sets)
    description = _describe(name, options, kind, shard_clips, sets, same)
    _open(out, description)
    jobs = [(split, number) for split, data in sets.items() for number in range(-(-len(data) // shard_clips))]
    maker = _ShardMaker(sets, out, kind, shard_clips)
    what = f"{out}: {len(jobs):,} parts of up to {shard_clips} clips"
    done = list(each(jobs, maker, what=what, processes=processes, progress=progress, chunk=1))
    _add_splits(out, description)
    return CacheOutcome(
        made=sum(made.is_new for made in done),
        kept=sum(not made.is_new for made in done),
        clips=sum(made.clips for made in done),
        skipped=tuple(fault for made in done for fault in made.faults),
        size=sum(made.size for made in done),
        absent=tuple(f"{split}: {error}" for split, error in absent.items()),
    )


def _describe(
    name: str,
    options: DataOptions,
    kind: str,
    shard_clips: int,
    sets: dict[str, ListedSet[Any]],
    same: dict[str, str],
) -> CacheDescription:
    first = next(iter(sets.values()))
    reading = {"sample_rate": 16_000, **first.reading}
    known = {
        split: {"clips": len(data), "ids_sha256": hash_ids(all_ids(data)), "missing": list(data.missing)}
        for split, data in sets.items()
    }
    return CacheDescription(
        kind=kind,
        data_set=name,
        options=dict(asked(options)),
        classes=first.classes,
        task=first.task,
        reading=reading | ({"mel_bins": MEL_BINS} if kind == "fbank" else {}),
        shard_clips=shard_clips,
        splits={**known, **{split: {"same_as": twin} for split, twin in same.items()}},
    )


def _open(out: Path, mine: CacheDescription) -> None:
    """Make the folder, or check that the cache in it can be continued."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file; name a folder for the cache with --out")
    remove_leftovers(out)
    held = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if held and DESCRIPTION not in held:
        raise DataError(
            f"{out}: not empty (it holds {', '.join(held[:4])}) and not a cache; name another folder with --out"
        )
    if not held:
        out.mkdir(parents=True, exist_ok=True)
        # Without splits, it is not a usable cache yet, but can be continued.
        replace(mine, splits={}).write(out)
        return
    theirs = CacheDescription.read(out)
    for field in ("kind", "data_set", "options", "classes", "task", "reading", "shard_clips"):
        here, there = getattr(mine, field), getattr(theirs, field)
        if _plain(here) != _plain(there):
            raise DataError(
                f"{out}: the cache there differs in {field.replace('_', ' ')}: {_short(there)}, not {_short(here)}. "
                "Name another folder with --out"
            )
    others = {split: held for split, held in theirs.splits.items() if split not in mine.splits}
    if others != theirs.splits:  # unusable until all is made: new parts may mix with parts of the old data
        replace(theirs, splits=others).write(out)


def _twins(out: Path, splits: Sequence[str]) -> list[str]:
    """Return the splits that the cache stores as equal to one of `splits`, as they may no longer be."""
    known = CacheDescription.read(out).splits if splits and (out / DESCRIPTION).is_file() else {}
    return [split for split, held in known.items() if held.get("same_as") in splits and split not in splits]


def _add_splits(out: Path, mine: CacheDescription) -> None:
    """Add the splits that are now complete to the description, next to others that may just have been added."""
    replace(mine, splits={**CacheDescription.read(out).splits, **mine.splits}).write(out)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}…"


class _ShardMaker:
    """Makes shards; can be called in any process."""

    def __init__(self, sets: dict[str, ListedSet[Any]], out: Path, kind: str, shard_clips: int) -> None:
        self._sets, self._out, self._kind, self._shard_clips = sets, out, kind, shard_clips

    def __call__(self, which: tuple[str, int]) -> _Made:
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
        return _Made(
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


@dataclass(frozen=True, kw_only=True)
class _Made:
    """Outcome of one shard."""

    is_new: bool
    clips: int
    size: int
    faults: tuple[str, ...]


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
