"""Compare soundscapes with the committed hashes of their recipes and mixed clips.

Shapes: `c` clips, `w` samples of a clip, `k` classes.

A recipe is drawn with integers and IEEE arithmetic, so a different hash means a different data set and is an error.
Samples come from an Opus decoder, which may round differently on another processor, so a different hash only causes a
warning and a flag in the result.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Container
from typing import TypedDict, cast

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastast.data.soundscapes.mixing import plan
from fastast.data.soundscapes.pool import FIRST_SEED, SoundscapesError, catalogue, committed


class Reference(TypedDict):
    """Committed hashes of the first `count` clips of a split, computed when the data set was made."""

    split: str
    seconds: float
    count: int
    recipe_sha256: str
    sha256: str


def furthest(split: str, seconds: float, count: int) -> Reference | None:
    """Return the committed hashes that cover the most of these clips; None where there are none."""
    entries = [
        entry
        for entry in cast(list[Reference], committed()["sets"])
        if entry["split"] == split and entry["seconds"] == seconds and entry["count"] <= count
    ]
    return max(entries, key=lambda entry: entry["count"], default=None)


def recipe_hashes(split: str, seconds: float, count: int, at: Container[int] = ()) -> dict[int, str]:
    """Return the SHA-256 of the recipes of the first `count` clips, and of the first n for every n in `at`."""
    sources, running, hashes = catalogue(split), hashlib.sha256(), {}
    for index in range(count):
        recipe = plan(RandomState(FIRST_SEED[split] + index), sources, seconds)
        running.update(f"{recipe.text()}\n".encode())
        if index + 1 == count or index + 1 in at:
            hashes[index + 1] = running.hexdigest()
    return hashes


def audio_hashes(waveforms: NDArray[np.int16], labels: NDArray[np.uint8], at: Container[int] = ()) -> dict[int, str]:
    """Return the SHA-256 of clips (c, w) with their labels (c, k), and of the first n for every n in `at`."""
    running, hashes = hashlib.sha256(), {}
    for index, (waveform, label) in enumerate(zip(waveforms, labels, strict=True)):
        running.update(waveform.astype("<i2", copy=False).tobytes() + label.tobytes())
        if index + 1 == len(labels) or index + 1 in at:
            hashes[index + 1] = running.hexdigest()
    return hashes


def check_recipes(split: str, seconds: float, count: int) -> str:
    """Return the recipes' hash. Raises SoundscapesError if they are not the committed ones."""
    known = furthest(split, seconds, count)
    hashes = recipe_hashes(split, seconds, count, at=() if known is None else (known["count"],))
    if known is not None and hashes[known["count"]] != known["recipe_sha256"]:
        raise SoundscapesError(
            f"soundscapes: the recipes of the first {known['count']:,} {split} clips ({seconds:g} s) have sha256 "
            f"{hashes[known['count']]}, not {known['recipe_sha256']}: sources.csv, the mixing code or NumPy's "
            "legacy random stream has changed, so these would be other clips. Restore fastast/data and "
            "fastast/assets/soundscapes, and use NumPy 2"
        )
    return hashes[count]


def check_audio(
    split: str, seconds: float, waveforms: NDArray[np.int16], labels: NDArray[np.uint8]
) -> tuple[str, bool | None]:
    """Return the clips' hash and whether they are the committed ones (None if unknown). Warns if they are not."""
    known = furthest(split, seconds, len(labels))
    hashes = audio_hashes(waveforms, labels, at=() if known is None else (known["count"],))
    if known is None:
        return hashes[len(labels)], None
    found = hashes[known["count"]]
    if found != known["sha256"]:
        warnings.warn(
            f"soundscapes: the first {known['count']:,} {split} clips ({seconds:g} s) have sha256 {found}, not "
            f"{known['sha256']}: the recipes are the same, but this machine's Opus decoder or arithmetic rounds "
            "differently. Numbers from these clips are not comparable bit for bit with published ones",
            stacklevel=3,
        )
    return hashes[len(labels)], found == known["sha256"]
