"""Soundscapes, the built-in data set: recordings mixed into scenes, for measuring and training."""

from __future__ import annotations

from fastast.data.soundscapes.classes import CLASSES, LEAVES, PARENTS
from fastast.data.soundscapes.clips import DEFAULT_COUNTS, MAX_COUNT, MAX_SECONDS, MIN_SECONDS, SoundscapeClips, load
from fastast.data.soundscapes.pool import SoundscapesError

__all__ = [
    "CLASSES",
    "DEFAULT_COUNTS",
    "LEAVES",
    "MAX_COUNT",
    "MAX_SECONDS",
    "MIN_SECONDS",
    "PARENTS",
    "SoundscapeClips",
    "SoundscapesError",
    "load",
]
