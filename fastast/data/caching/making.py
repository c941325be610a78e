"""Makes caches: writes shards in parallel, keeps those that are still valid, and says which splits are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastast.data.caching.files import DESCRIPTION, KINDS, CacheDescription
from fastast.data.caching.shard_maker import MEL_BINS, ShardMaker
from fastast.data.datasets import DataOptions, asked
from fastast.data.folders import SPLITS, ListedSet, check_allowed, check_split
from fastast.data.identity import hash_ids
from fastast.data.parallel import each
from fastast.data.splits import check_classes
from fastast.data.training_set import DataError, SplitNotFoundError, all_ids
from fastast.system.writing import remove_leftovers

SHARD_CLIPS = 256
"""Clips in a shard: 40 MB at ten seconds each."""


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
    maker = ShardMaker(sets, out, kind, shard_clips)
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
