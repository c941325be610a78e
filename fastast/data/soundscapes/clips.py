"""Load Soundscapes, the built-in data set: real recordings, mixed into multi-label clips on first use.

Shapes: `c` clips, `w` samples of a clip, `k` classes (64: 59 leaves and 5 parents).

The recordings are real, but the scenes are synthetic mixtures: say so wherever you report a number from this set. No
recording, and no group of related recordings, is in two splits. Licences and authors are in `assets/soundscapes/`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.soundscapes.classes import CLASSES, LEAVES, PARENTS
from fastast.data.soundscapes.generate import mix_missing, open_store, read_cached
from fastast.data.soundscapes.mixing import SAMPLE_RATE, clip_samples
from fastast.data.soundscapes.pool import FIRST_SEED, SoundscapesError
from fastast.data.soundscapes.reference import check_audio, check_recipes
from fastast.names import unknown_name

__all__ = ["CLASSES", "DEFAULT_COUNTS", "LEAVES", "PARENTS", "SoundscapeClips", "SoundscapesError", "load"]

DEFAULT_COUNTS = {"train": 10_000, "val": 1_000, "test": 2_000}
MAX_COUNT = 100_000
"""Most clips of a split: with more, its seeds would overlap those of the next split."""
MIN_SECONDS, MAX_SECONDS = 2.0, 60.0
MAX_TOTAL_SECONDS = 500_000
"""Most seconds of one set: 16 GB of samples."""


@dataclass(frozen=True, kw_only=True)
class SoundscapeClips:
    """A set of mixed clips with their labels."""

    split: str
    """Name of the split: train, val or test."""
    seconds: float
    """Length of every clip in seconds."""
    ids: tuple[str, ...]
    """Id of every clip, such as test_00042."""
    waveforms: NDArray[np.int16]
    """Samples, (c, w); 32767 is full scale."""
    labels: NDArray[np.uint8]
    """Labels, (c, k): 1 where a class is heard in a clip."""
    classes: tuple[str, ...] = CLASSES
    """Class of every column of `labels`."""
    sample_rate: int = SAMPLE_RATE
    """Sample rate (Hz)."""
    sha256: str
    """SHA-256 of all clips in order, each as its samples (int16, little-endian) and its labels (one byte per class)."""
    recipe_sha256: str
    """SHA-256 of the recipes' text, one line per clip, which is the same on every platform."""
    matches_reference: bool | None
    """Whether the first clips are bit-identical to those with a committed hash; None where no hash is committed."""

    def __len__(self) -> int:
        return len(self.ids)


def load(
    split: str,
    *,
    count: int | None = None,
    seconds: float = 5.0,
    cache_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> SoundscapeClips:
    """Return the first `count` clips of a split, mixed on first use and cached.

    `split` is train, val or test, and `count` defaults to 10,000, 1,000 or 2,000 respectively; `seconds` (2 to 60, in
    whole milliseconds) is the length of a clip. The clips do not depend on `count`, `workers` (threads) or the cache.
    With `progress`, a bar on stderr shows what is being mixed. Clips are cached in `cache_dir`, else in
    `$FASTAST_CACHE`, else in the user's cache folder; 1,000 clips of 5 s take 160 MB there and in memory.

    Raises SoundscapesError for an argument that is not allowed, for audio that is missing (also a FileNotFoundError) or
    damaged, and if the recipes are not the committed ones. Warns if the audio is not bit-identical to the committed
    one.
    """
    count = _check_arguments(split, count, seconds, workers)
    recipes = check_recipes(split, seconds, count)
    waveforms = np.empty((count, clip_samples(seconds)), np.int16)  # (c, w)
    labels = np.empty((count, len(CLASSES)), np.uint8)  # (c, k)
    store = open_store(split, seconds, cache_dir)
    missing = read_cached(store, waveforms, labels)
    if missing:
        threads = workers or min(8, os.cpu_count() or 1)
        mix_missing(store, missing, split, seconds, waveforms, labels, progress=progress, workers=threads)
    sha256, matches = check_audio(split, seconds, waveforms, labels)
    return SoundscapeClips(
        split=split,
        seconds=float(seconds),
        ids=tuple(f"{split}_{index:05d}" for index in range(count)),
        waveforms=waveforms,
        labels=labels,
        sha256=sha256,
        recipe_sha256=recipes,
        matches_reference=matches,
    )


def _check_arguments(split: str, count: int | None, seconds: float, workers: int | None) -> int:
    """Return the number of clips. Raises SoundscapesError for an argument that is not allowed."""
    if split not in FIRST_SEED:
        raise SoundscapesError(unknown_name("split of the soundscapes", split, FIRST_SEED))
    count = DEFAULT_COUNTS[split] if count is None else count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
        raise SoundscapesError(f"soundscapes: count is {count!r}; it must be an integer from 1 to {MAX_COUNT:,}")
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not MIN_SECONDS <= seconds <= MAX_SECONDS
        or not math.isclose(seconds * 1000, round(seconds * 1000), abs_tol=1e-6)
    ):
        raise SoundscapesError(
            f"soundscapes: seconds is {seconds!r}; it must be a number of whole milliseconds from {MIN_SECONDS:g} to "
            f"{MAX_SECONDS:g}"
        )
    if count * seconds > MAX_TOTAL_SECONDS:
        raise SoundscapesError(
            f"soundscapes: {count:,} clips of {seconds:g} s are {count * seconds:,.0f} s; one set holds at most "
            f"{MAX_TOTAL_SECONDS:,} s (16 GB of samples): ask for fewer or shorter clips"
        )
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise SoundscapesError(f"soundscapes: workers is {workers!r}; it must be an integer of at least 1, or None")
    return count
