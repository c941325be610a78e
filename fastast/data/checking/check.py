"""Checks a data set: decodes every clip once, and counts whatever would waste a training run or spoil a result."""

from __future__ import annotations

import hashlib
import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastast.data.audio import AudioError
from fastast.data.datasets import DataOptions
from fastast.data.folders import SPLITS, ListedSet
from fastast.data.identity import hash_ids
from fastast.data.layouts.recognise import without_refusals
from fastast.data.parallel import each
from fastast.data.splits import difference_in_classes, shared_clips
from fastast.data.training_set import MIN_SAMPLES, DataError, SplitNotFoundError, all_ids

FAULTS = ("missing", "unreadable", "too short", "too long", "wrong scale", "not a number")
"""Faults that make a clip useless: it is skipped in training and left out in evaluation."""
NOTES = ("silent", "clipped", "channels cancel", "header ends early")
"""Faults with which a clip can be used, but should not be."""
_SILENT = 1 / 32_768
"""Peak up to which a clip counts as silent: one step of 16 bits."""
_CLIPPED = 0.001
"""Share of samples at full scale from which a clip counts as clipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedClip:
    """Findings on one clip."""

    id: str
    fault: str = ""
    """One of FAULTS; empty where the clip can be used."""
    message: str = ""
    """What is wrong, with the clip's name; the name alone where the clip can be used."""
    notes: tuple[str, ...] = ()
    """Those of NOTES that apply to the clip."""
    seconds: float = 0.0
    rates: tuple[int, ...] = ()
    channels: int = 0
    codec: str = ""
    digest: str = ""
    """Hash of the encoded bytes, by which the same audio under two names is found; empty for a silent clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    """A clip and the names of its labels."""

    id: str
    labels: tuple[str, ...]


@dataclass(kw_only=True)
class CheckedSplit:
    """Findings on one split."""

    clips: int = 0
    """Number of clips that exist."""
    seconds: float = 0.0
    """Total length in seconds of the clips that can be used."""
    labels: dict[str, int] = field(default_factory=dict)
    """Class -> number of existing clips that have it."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Fault -> messages on the clips that cannot be used because of it."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Note -> names of the clips that should not be used as they are because of it."""
    rates: dict[int, int] = field(default_factory=dict)
    """Sample rate (Hz) -> number of clips."""
    channels: dict[int, int] = field(default_factory=dict)
    """Number of channels -> number of clips."""
    codecs: dict[str, int] = field(default_factory=dict)
    """Container and codec -> number of clips."""
    ids_sha256: str = ""
    """Hash of the list of ids: two results with the same hash were measured on the same clips."""
    warnings: list[str] = field(default_factory=list)
    """Warnings that the data set itself gave when it was opened."""
    error: str = ""
    """Why the split cannot be opened (the rest is then empty), or how its classes differ from another's; else empty."""
    absent: bool = False
    """Whether the set simply has no such split, and it was not requested by name; this is not a fault."""

    @property
    def is_sound(self) -> bool:
        """Whether the split is absent, or can be opened and every clip of its tables exists and can be used."""
        return self.absent or not (self.error or self.faults)


@dataclass(kw_only=True)
class CheckedSet:
    """Findings on a data set."""

    name: str
    """Name of the data set in recipes."""
    options: DataOptions
    """Options that the data set was opened with."""
    task: str = ""
    """Task of the data set, which decides its metric."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the columns."""
    splits: dict[str, CheckedSplit] = field(default_factory=dict)
    """Findings on each split, by name."""
    same_as_test: bool = False
    """Whether val and test have the same clips, as some sets' protocols specify; val was then not read again."""
    in_two_splits: dict[str, list[str]] = field(default_factory=dict)
    """Pair of splits -> ids that are in both, or pairs of ids of one file (`0.wav = 0`)."""
    twice: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of clips in different splits with identical bytes; published sets have some."""
    other_labels: list[tuple[str, str]] = field(default_factory=list)
    """Those of these pairs whose two clips have different labels."""
    splits_in_train: list[str] = field(default_factory=list)
    """Splits in which every usable clip that is not silent has the same bytes as a clip in train."""
    median_seconds: float = 0.0
    """Median length of the usable clips of all splits, in seconds; at least half of them are this long."""

    @property
    def lone_class(self) -> str:
        """The only class of a single-label set, on which there is nothing to classify; else empty."""
        return self.classes[0] if self.task == "single_label" and len(self.classes) == 1 else ""

    @property
    def untrained(self) -> list[str]:
        """Classes that have clips in another split but none in train; empty if there is no train split."""
        train = self.splits.get("train")
        others = [split for name, split in self.splits.items() if name != "train"]
        asked = {name for split in others for name, count in split.labels.items() if count}
        return [name for name, count in train.labels.items() if not count and name in asked] if train else []

    @property
    def is_sound(self) -> bool:
        """Whether the set has a split, every split can be opened and all its clips used, no clip is in two of them, nor
        any audio with different labels, no split is entirely in train, a single-label set has more than one class, and
        train has clips of every class in the other splits."""
        there = any(not split.absent for split in self.splits.values())
        whole = all(split.is_sound for split in self.splits.values()) and not self.in_two_splits
        apart = not self.other_labels and not self.splits_in_train
        return there and whole and apart and not self.lone_class and not self.untrained


def check_set(
    name: str, options: DataOptions, *, splits: Sequence[str] = (), processes: int = 1, progress: bool = False
) -> CheckedSet:
    """Decode every clip of the splits and return the findings.

    Each of `splits` must exist; if empty, all existing splits are checked.
    """
    found = CheckedSet(name=name, options=options)
    opened = {split: _open(options, split, found, asked=bool(splits)) for split in splits or SPLITS}
    sets = {split: data for split, data in opened.items() if data is not None}
    for split in list(sets)[1:]:
        first = next(iter(sets))
        if error := difference_in_classes(split, sets[split], first, sets[first]):
            found.splits[split].error = error
            del sets[split]
    if "val" in sets and "test" in sets and all_ids(sets["val"]) == all_ids(sets["test"]):
        found.same_as_test = True
        del sets["val"], found.splits["val"]
    digests: dict[str, dict[str, _Heard]] = {}
    seconds: list[float] = []
    for split, data in sets.items():
        found.task, found.classes = data.task, data.classes
        columns = {entry.id: entry.columns for entry in data.entries}
        for clip in each(
            range(len(data)), _Inspector(data), what=f"{name}: {split}", processes=processes, progress=progress
        ):
            _count(found.splits[split], clip)
            seconds += [] if clip.fault else [clip.seconds]
            if clip.digest:
                labels = tuple(data.classes[column] for column in sorted(columns[clip.id]))
                _compare(found, digests.setdefault(clip.digest, {}), split, _Heard(id=clip.id, labels=labels))
    found.median_seconds = statistics.median_high(seconds) if seconds else 0.0
    found.splits_in_train = [split for split in sets if split != "train" and _is_in_train(split, digests)]
    names = list(sets)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if shared := shared_clips(sets[one], sets[other]):
                found.in_two_splits[f"{one} and {other}"] = shared
    return found


def _compare(found: CheckedSet, before: dict[str, _Heard], split: str, clip: _Heard) -> None:
    """Note a clip whose audio is in another split too; `before` holds the first clip with that audio in each split."""
    for other, heard in before.items():
        if other == split:
            continue
        found.twice.append((f"{other} {heard.id}", f"{split} {clip.id}"))
        if heard.labels != clip.labels:
            pair = (f"{other} {heard.id} ({', '.join(heard.labels)})", f"{split} {clip.id} ({', '.join(clip.labels)})")
            found.other_labels.append(pair)
    before.setdefault(split, clip)


def _is_in_train(split: str, digests: dict[str, dict[str, _Heard]]) -> bool:
    """Return whether all audio of a split, silent clips aside, is in train too."""
    there = [splits for splits in digests.values() if split in splits]
    return bool(there) and all("train" in splits for splits in there)


def _open(options: DataOptions, split: str, found: CheckedSet, *, asked: bool) -> ListedSet[Any] | None:
    """Open a split and note what is known without reading audio; `asked` says that it was requested by name."""
    noted = found.splits[split] = CheckedSplit()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data: Any = without_refusals(options).split(split)
        except (DataError, OSError) as error:
            noted.error = str(error)
            noted.absent = isinstance(error, SplitNotFoundError) and not (error.listed or asked)
            return None
    noted.warnings = list(dict.fromkeys(str(warning.message) for warning in caught))
    noted.clips = len(data)
    noted.ids_sha256 = hash_ids(all_ids(data))
    if data.missing:
        noted.faults["missing"] = [f"{clip}: not there" for clip in data.missing]
    counts = Counter(column for entry in data.entries for column in entry.columns)
    noted.labels = {name: counts[column] for column, name in enumerate(data.classes)}
    return data


class _Inspector:
    """Decodes one clip of a set and returns the findings on it."""

    def __init__(self, data: ListedSet[Any]) -> None:
        self.data = data

    def __call__(self, index: int) -> CheckedClip:
        data, clip = self.data, self.data.id(index)
        try:
            facts = data.inspect(index)
            digest = _digest(data.source(index))
        except AudioError as error:
            return CheckedClip(id=clip, fault=error.fault, message=str(error))
        except DataError as error:  # the file that holds the clip: a damaged shard
            return CheckedClip(id=clip, fault="unreadable", message=str(error))
        if facts.seconds * 16_000 < MIN_SAMPLES:
            message = f"{data.name(index)}: {1000 * facts.seconds:.3g} ms, less than one frame (25 ms)"
            return CheckedClip(id=clip, fault="too short", message=message)
        notes = (facts.peak <= _SILENT, facts.clipped_share > _CLIPPED, facts.cancels, bool(facts.unheard))
        return CheckedClip(
            id=clip,
            message=data.name(index),
            notes=tuple(note for note, holds in zip(NOTES, notes, strict=True) if holds),
            seconds=facts.seconds,
            rates=tuple(dict.fromkeys(facts.rates)),
            channels=facts.channels,
            codec=facts.codec,
            digest="" if facts.peak <= _SILENT else digest,
        )


def _digest(source: Path | bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(source, bytes):
        digest.update(source)
        return digest.hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def _count(split: CheckedSplit, clip: CheckedClip) -> None:
    if clip.fault:
        split.faults.setdefault(clip.fault, []).append(clip.message)
        return
    split.seconds += clip.seconds
    for note in clip.notes:
        split.notes.setdefault(note, []).append(clip.message)
    for rate in clip.rates:
        split.rates[rate] = split.rates.get(rate, 0) + 1
    split.channels[clip.channels] = split.channels.get(clip.channels, 0) + 1
    split.codecs[clip.codec] = split.codecs.get(clip.codec, 0) + 1
