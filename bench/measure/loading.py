"""Clips per second of loading and of the model: the slower of the two is the bottleneck."""

from __future__ import annotations

from typing import Literal

from bench.measure.machine import Facts

SlowerSide = Literal["loading", "model"]
ClipOrigin = Literal["files", "cache", "mixed"]
"""Audio files, a cache of `fastast data cache`, or scenes mixed from recordings."""


class Preparation(Facts):
    """Computing the features of a sweep's clips, done once for all cells that score them."""

    source: ClipOrigin
    """Where the clips come from."""
    clips: int
    """Number of clips."""
    readers: int
    """Reading threads, in addition to PyTorch's for the filterbank."""
    seconds: float
    """Wall time of the whole: reading, filterbank, hashing and writing, which overlap."""
    core_seconds: float
    """Processor time of all threads together."""
    read_core_seconds: float
    """The part of `core_seconds` spent on reading: decoding and resampling, or mixing."""

    @property
    def rate(self) -> float:
        """Clips per second with all readers running."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def rate_per_core(self) -> float:
        """Clips per second and processor."""
        return self.clips / max(self.core_seconds, 1e-9)


class Loading(Facts):
    """What a cell waited for. Cells read features from the run's cache, never clips from files."""

    preparation: Preparation | None
    """How these features were computed; None if that was not timed."""
    reused: bool
    """Whether an earlier run computed them."""
    clips: int
    """Clips in the two times below: all except those of the first batch, during which libraries initialise."""
    cached_seconds: float
    """Reading features from the run's cache on one thread, from disk or from memory, and moving them to the device."""
    model_seconds: float
    """The model's forward passes, until logits are on the CPU."""

    @property
    def cached_rate(self) -> float:
        """Clips per second from the run's cache."""
        return self.clips / max(self.cached_seconds, 1e-9)

    @property
    def model_rate(self) -> float:
        """Clips per second of the model."""
        return self.clips / max(self.model_seconds, 1e-9)

    @property
    def limits(self) -> SlowerSide:
        """The slower side in this cell."""
        return slower(self.cached_rate, self.model_rate)

    @property
    def limits_from_source(self) -> SlowerSide | None:
        """The side that would be slower without the run's cache; None if preparation was not timed."""
        return None if self.preparation is None else slower(self.preparation.rate, self.model_rate)


def slower(loading: float, model: float) -> SlowerSide:
    """Return the side with fewer clips per second."""
    return "loading" if loading < model else "model"
