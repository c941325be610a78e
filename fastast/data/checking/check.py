"""What is in a data set: every clip is decoded once, and whatever would cost a training or a number is counted."""

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
"""What makes a clip useless; it is skipped in training and left out in evaluation."""
NOTES = ("silent", "clipped", "channels cancel", "header ends early")
"""What a clip can be used with, but should not be."""
_SILENT = 1 / 32_768
"""Peak up to which a clip is digital silence: one step of 16 bits."""
_CLIPPED = 0.001
"""Share of samples at full scale from which a clip counts as clipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedClip:
    """What was found in one clip."""

    id: str
    fault: str = ""
    """One of FAULTS; empty where the clip is sound."""
    message: str = ""
    """What is wrong, with the clip's name."""
    notes: tuple[str, ...] = ()
    """Some of NOTES."""
    seconds: float = 0.0
    rates: tuple[int, ...] = ()
    channels: int = 0
    codec: str = ""
    digest: str = ""
    """Hash of the encoded bytes: the same audio under two names is found by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    """A clip and the names of its labels."""

    id: str
    labels: tuple[str, ...]


@dataclass(kw_only=True)
class CheckedSplit:
    """What was found in one split."""

    clips: int = 0
    """Clips that are there."""
    seconds: float = 0.0
    """Of all clips that can be read."""
    labels: dict[str, int] = field(default_factory=dict)
    """Clips of every class, of those that are there."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Messages of the clips that cannot be used, by kind of fault."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Names of the clips that should not be used as they are, by what is the matter."""
    rates: dict[int, int] = field(default_factory=dict)
    """Clips of every sample rate (Hz)."""
    channels: dict[int, int] = field(default_factory=dict)
    """Clips of every number of channels."""
    codecs: dict[str, int] = field(default_factory=dict)
    """Clips of every container and codec."""
    ids_sha256: str = ""
    """Hash of the list of ids: two numbers on the same hash were measured on the same clips."""
    warnings: list[str] = field(default_factory=list)
    """What the data set itself warns of."""
    error: str = ""
    """Why the split cannot be opened; the rest is empty then."""
    absent: bool = False
    """Whether it cannot as the set has no such split, and nobody asked for it by name."""

    @property
    def is_sound(self) -> bool:
        """Whether every clip of the tables is there and can be used."""
        return self.absent or not (self.error or self.faults)


@dataclass(kw_only=True)
class CheckedSet:
    """What was found in a data set."""

    name: str
    """Its name in recipes."""
    options: DataOptions
    """What it was opened with."""
    task: str = ""
    """How it is scored."""
    classes: tuple[str, ...] = ()
    """Its classes, in order."""
    splits: dict[str, CheckedSplit] = field(default_factory=dict)
    """What is in each."""
    same_as_test: bool = False
    """Whether val and test are the same clips, as the protocols of some sets have it; val was not read again then."""
    in_two_splits: dict[str, list[str]] = field(default_factory=dict)
    """Ids that stand in two splits, or two ids of one file (`0.wav = 0`), by the names of the splits."""
    twice: list[tuple[str, str]] = field(default_factory=list)
    """Clips of different splits that hold the very same bytes; published sets have some."""
    other_labels: list[tuple[str, str]] = field(default_factory=list)
    """Those of them that have other labels in the one split than in the other."""
    splits_in_train: list[str] = field(default_factory=list)
    """Splits of which every clip that can be used holds the bytes of one in train."""
    median_seconds: float = 0.0
    """Half of the clips that can be used, in all splits, last at least so long."""

    @property
    def lone_class(self) -> str:
        """The class of a set whose clips have one label each, and all the same: nothing can be told apart."""
        return self.classes[0] if self.task == "single_label" and len(self.classes) == 1 else ""

    @property
    def untrained(self) -> list[str]:
        """The classes that are asked for elsewhere, without a clip to train on; none where there is no train split."""
        train = self.splits.get("train")
        others = [split for name, split in self.splits.items() if name != "train"]
        asked = {name for split in others for name, count in split.labels.items() if count}
        return [name for name, count in train.labels.items() if not count and name in asked] if train else []

    @property
    def is_sound(self) -> bool:
        """Whether all splits that there are can be opened, every clip can be used, none stands in two splits, no audio
        does with other labels, no whole split is in train, and there is more than one class, each with a clip to train
        on where one asks for it."""
        there = any(not split.absent for split in self.splits.values())
        whole = all(split.is_sound for split in self.splits.values()) and not self.in_two_splits
        apart = not self.other_labels and not self.splits_in_train
        return there and whole and apart and not self.lone_class and not self.untrained


def check_set(
    name: str, options: DataOptions, *, splits: Sequence[str] = (), processes: int = 1, progress: bool = False
) -> CheckedSet:
    """Decode every clip of some splits, in several processes, and return what was found.

    `splits`: those that must be there; empty: those that there are.
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
    """Note a clip whose audio stands in another split; `before`: the first clip of that audio in each split."""
    for other, heard in before.items():
        if other == split:
            continue
        found.twice.append((f"{other} {heard.id}", f"{split} {clip.id}"))
        if heard.labels != clip.labels:
            pair = (f"{other} {heard.id} ({', '.join(heard.labels)})", f"{split} {clip.id} ({', '.join(clip.labels)})")
            found.other_labels.append(pair)
    before.setdefault(split, clip)


def _is_in_train(split: str, digests: dict[str, dict[str, _Heard]]) -> bool:
    """Whether a split holds no audio but that of clips in train."""
    there = [splits for splits in digests.values() if split in splits]
    return bool(there) and all("train" in splits for splits in there)


def _open(options: DataOptions, split: str, found: CheckedSet, *, asked: bool) -> ListedSet[Any] | None:
    """Open a split, perhaps `asked` for by name, and note what is known of it without reading audio."""
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
    """Looks at a clip of a set."""

    def __init__(self, data: ListedSet[Any]) -> None:
        self.data = data

    def __call__(self, index: int) -> CheckedClip:
        data, clip = self.data, self.data.id(index)
        try:
            facts = data.inspect(index)
            digest = _digest(data.source(index))
        except AudioError as error:
            return CheckedClip(id=clip, fault=error.fault, message=str(error))
        except DataError as error:  # of what holds the clip: a damaged shard
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
