"""Soundscapes: the embedded data set. Real recordings, mixed into multi-label clips on first use.

Shapes: `c` clips, `w` samples of a clip, `k` classes (64: 59 leaves and 5 parents).

The recordings are real, the scenes are synthetic mixtures: say so wherever a number from this set stands. No recording,
and no group of related recordings, is in two splits. Licences and authors are in `assets/soundscapes/`.
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
"""Clips of a split at most: beyond, the seeds of one split would be those of the next."""
MIN_SECONDS, MAX_SECONDS = 2.0, 60.0
MAX_TOTAL_SECONDS = 500_000
"""Seconds of one set at most: 16 GB of samples."""


@dataclass(frozen=True, kw_only=True)
class SoundscapeClips:
    """A set of mixed clips with their labels."""

    split: str
    """train, val or test."""
    seconds: float
    """Length of a clip."""
    ids: tuple[str, ...]
    """Name of every clip, such as test_00042."""
    waveforms: NDArray[np.int16]
    """Samples, (c, w); 32767 is full scale."""
    labels: NDArray[np.uint8]
    """1 where a class is heard in a clip, (c, k)."""
    classes: tuple[str, ...] = CLASSES
    """Name of every column of `labels`."""
    sample_rate: int = SAMPLE_RATE
    """Samples a second (Hz)."""
    sha256: str
    """Of every clip's samples (int16, little-endian) followed by its labels (a byte a class), clip after clip."""
    recipe_sha256: str
    """Of the recipes' text, a line per clip: the same on every platform."""
    matches_reference: bool | None
    """Whether the audio is bit for bit the committed one, as far as it reaches; None where no hash is committed."""

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

    `split` is train, val or test; `count` is 10,000, 1,000 or 2,000 unless told; `seconds` (2 to 60, whole
    milliseconds) is the length of a clip. The clips are the same whatever `count`, `workers` (threads) and cache are.
    With `progress`, a bar on stderr says what is mixed. They are cached in `cache_dir`, `$FASTAST_CACHE`, or the
    user's cache folder; 1,000 clips of 5 s take 160 MB there and in memory.

    Raises SoundscapesError for an argument that is not allowed, for audio that is missing or damaged (FileNotFoundError
    too, if missing), and if the recipes are not the committed ones. Warns if the audio is not, bit for bit.
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
    """Return how many clips are wanted."""
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
