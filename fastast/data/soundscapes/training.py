"""Mix soundscapes for training on the fly: new mixtures every epoch, from the recordings of one split.

Shapes: `s` samples of a clip or a source, `c` classes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastast.data.datasets import LATER, only_in
from fastast.data.soundscapes import MAX_COUNT, MAX_SECONDS, MIN_SECONDS
from fastast.data.soundscapes.classes import CLASSES
from fastast.data.soundscapes.generate import mixer_hash
from fastast.data.soundscapes.mixing import SampleSource, mix_clip, plan
from fastast.data.soundscapes.pool import FIRST_SEED, Pool, catalogue, pool_path
from fastast.data.soundscapes.reference import check_recipes, furthest
from fastast.data.training_set import DataError
from fastast.metrics import Task
from fastast.names import unknown_name

_LAST_SEED = 2**32 - 1
_SLOWEST, _FASTEST = 0.85, 1.18
_MIN_RESAMPLED = 800
_OPENING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Soundscapes:
    """Keys of `[data]` for the soundscapes. Training mixes clips of its own; val and test have the published ones."""

    seconds: float = 5.0
    """Length of a clip in seconds."""
    train_clips: int = 10_000
    """Number of training clips per epoch."""
    val_clips: int = 1_000
    """Number of validation clips: the first of the published ones."""
    test_clips: int = 2_000
    """Number of test clips: the first of the published ones."""
    first_test_clip: int = field(default=0, metadata={**LATER, **only_in("test")})
    """Index of the first test clip. From 2,000 on, test clips are other mixtures of the same recordings than those of
    the published results."""
    fresh: bool = field(default=True, metadata=only_in("train"))
    """Whether every epoch has new mixtures. If false, every epoch has the clips of the first, which are kept in memory
    (160 MB for 1,000 clips of 5 s, in each reading process). Clips of val and test are always kept."""
    repeats: int = field(default=1, metadata={**LATER, **only_in("train")})
    """Number of successive epochs that share their mixtures, as mixing a clip costs as much as a small network's step.
    Mixtures are kept in memory as with `fresh = false`; mixup and masks still differ every time."""
    speed_share: float = field(default=0.0, metadata=only_in("train"))
    """Share of the sources that are played at 0.85 to 1.18 times their speed (training only)."""
    classes: tuple[str, ...] = ()
    """Classes to be labelled; the mixtures stay the same. Empty for all 64."""

    def __post_init__(self) -> None:
        number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not number or not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            raise DataError(
                f"data: seconds is {self.seconds!r}; it must be a number from {MIN_SECONDS:g} to {MAX_SECONDS:g}"
            )
        for name in ("train_clips", "val_clips", "test_clips"):
            value = getattr(self, name)
            most = None if name == "train_clips" else MAX_COUNT
            if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most and value > most):
                limit = "of at least 1" if most is None else f"from 1 to {most:,}"
                raise DataError(f"data: {name} is {value!r}; it must be a whole number {limit}")
        first, last = self.first_test_clip, MAX_COUNT - self.test_clips
        if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first <= last:
            raise DataError(
                f"data: first_test_clip is {first!r}; with {self.test_clips:,} test clips, it must be a whole number "
                f"from 0 to {last:,}"
            )
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise DataError(f"data: repeats is {self.repeats!r}; it must be a whole number of at least 1")
        if self.repeats > 1 and not self.fresh:
            raise DataError(
                "data: repeats says how often new mixtures are made, but fresh = false makes none; set only one of them"
            )
        share = self.speed_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise DataError(f"data: speed_share is {share!r}; it must be a share from 0 to 1")
        if not isinstance(self.fresh, bool):
            raise DataError(f"data: fresh is {self.fresh!r}; it must be true or false")
        for name in self.classes:
            if name not in CLASSES:
                raise DataError(f"data: classes: {unknown_name('class of the soundscapes', name, CLASSES)}")
        if len(set(self.classes)) < len(self.classes):
            raise DataError("data: classes names one class twice")

    def split(self, name: str) -> SoundscapesSet:
        """Return a split: train, val or test."""
        if name not in FIRST_SEED:
            raise DataError(unknown_name("split of the soundscapes", name, FIRST_SEED))
        return SoundscapesSet(self, name)


class SoundscapesSet:
    """One split, mixed on demand."""

    task: Task = "multi_label"

    def __init__(self, options: Soundscapes, split: str) -> None:
        self.options = options
        self.split = split
        self.classes: tuple[str, ...] = tuple(options.classes) or CLASSES
        self._columns = {name: column for column, name in enumerate(self.classes)}
        self._count = int(getattr(options, f"{split}_clips"))
        self._first = options.first_test_clip if split == "test" else 0
        self._catalogue = catalogue(split)
        self._pool: Pool | None = None
        self._keeps = split != "train" or not options.fresh or options.repeats > 1
        self._kept: dict[int, tuple[int, NDArray[np.int16], NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return self._count

    def id(self, index: int) -> str:
        """Return the clip's id, such as test_00042."""
        return f"{self.split}_{self._first + index:05d}"

    def name(self, index: int) -> str:
        """Return the clip's id, as a mixture has no file."""
        return self.id(index)

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that determines the mixtures of the first epoch, except their number."""
        speed = self.options.speed_share if self.split == "train" else 0
        said = f"{mixer_hash(self.split, self.options.seconds)} {self.split} {self.options.seconds:g} {speed:g}"
        said += f" from {self._first}" if self._first else ""
        return hashlib.sha256(said.encode()).hexdigest()

    def reference(self) -> tuple[int, str] | None:
        """Return how many of the first clips have a committed hash, and the hash.

        It covers every clip's samples (int16, little-endian) and labels (one byte per class), clip after clip. None
        where none is committed, or where `classes`, `speed_share` or `first_test_clip` changes the clips. Raises
        SoundscapesError where the recipes, and so the clips, are not the committed ones.
        """
        seconds = float(self.options.seconds)
        check_recipes(self.split, seconds, self._first + self._count)
        known = furthest(self.split, seconds, self._count)
        altered = self.classes != CLASSES or self._first or (self.split == "train" and self.options.speed_share)
        return None if known is None or altered else (known["count"], known["sha256"])

    def seed(self, index: int, epoch: int) -> int:
        """Return the seed of a mixture, which no other mixture of the run or of another split has."""
        if self.split == "train" and self.options.fresh:
            index += epoch // self.options.repeats * self._count
        seed = FIRST_SEED[self.split] + self._first + index
        if seed > _LAST_SEED:
            raise DataError(
                f"data: clip {index:,} is beyond the mixer's seeds; train fewer epochs, or fewer clips each"
            )
        return seed

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a clip, mixed now or kept from before: samples (s,) and labels (c,)."""
        seed = self.seed(index, epoch)
        if index in self._kept and self._kept[index][0] == seed:
            _, samples, labels = self._kept[index]
        else:
            samples, labels = self._mix(seed)
            if self._keeps:
                self._kept[index] = seed, samples, labels
        return _floating(samples), labels

    def _mix(self, seed: int) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        source: SampleSource = self._opened()
        if self.split == "train" and self.options.speed_share:
            source = _Resampled(source, self.options.speed_share, seed)
        samples, recipe = mix_clip(seed, self._catalogue, self.options.seconds, source)
        return samples, self._encode(recipe.labels)

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """Return the labels (c,) of a clip, from its recipe alone."""
        recipe = plan(RandomState(self.seed(index, epoch)), self._catalogue, self.options.seconds)
        return self._encode(recipe.labels)

    def prepare(self) -> None:
        """Decode every source now, on several threads, so that the processes that will mix share them."""
        pool = self._opened()
        with ThreadPoolExecutor() as executor:
            for _ in executor.map(pool, self._catalogue.samples):
                pass

    def _opened(self) -> Pool:
        with _OPENING:  # only one of several concurrent threads opens it
            if self._pool is None:
                self._pool = Pool(self.split, pool_path())
        return self._pool

    def _encode(self, names: Sequence[str]) -> NDArray[np.float32]:
        labels = np.zeros(len(self.classes), np.float32)
        labels[[self._columns[name] for name in names if name in self._columns]] = 1
        return labels


def _floating(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.divide(samples, 32768, dtype=np.float32)  # as the front end converts int16


class _Resampled:
    """Plays some sources faster or slower, always in the same way for the same clip."""

    def __init__(self, source: SampleSource, share: float, seed: int) -> None:
        self._source = source
        self._share = share
        self._random = RandomState((seed ^ 0x5BD1E995) & _LAST_SEED)

    def __call__(self, name: str) -> NDArray[np.float32]:
        samples = self._source(name)
        if self._random.rand() >= self._share or len(samples) <= _MIN_RESAMPLED:
            return samples
        factor = self._random.uniform(_SLOWEST, _FASTEST)
        at = np.arange(int(len(samples) / factor)) * factor
        stretched: NDArray[np.float64] = np.interp(at, np.arange(len(samples)), samples)
        return stretched.astype(np.float32)
