"""What it took to get clips to the model, and what the model took: in clips per second, the slower side limits."""

from __future__ import annotations

from typing import Literal

from bench.measure.machine import Facts

SlowerSide = Literal["loading", "model"]
ClipOrigin = Literal["files", "cache", "mixed"]
"""Audio files; a cache of `fastast data cache`; scenes, mixed from recordings."""


class Preparation(Facts):
    """How the features of a sweep's clips were made, once for all cells that score them."""

    source: ClipOrigin
    """Where the clips come from."""
    clips: int
    """Clips that were made into features."""
    readers: int
    """Threads that read at once, beside PyTorch's for the filterbank."""
    seconds: float
    """Wall time of all of it: reading, filterbank, hashing and writing, the one while the other."""
    core_seconds: float
    """Processor time of all threads together."""
    read_core_seconds: float
    """The part of it that reading took: decoding and resampling, or mixing."""

    @property
    def rate(self) -> float:
        """Clips per second, with all readers at work."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def rate_per_core(self) -> float:
        """Clips that one processor makes per second."""
        return self.clips / max(self.core_seconds, 1e-9)


class Loading(Facts):
    """What a cell waited for. It takes its features from the run's cache, never from files."""

    preparation: Preparation | None
    """How these features came into the cache; None where nobody timed it."""
    reused: bool
    """Whether they were there when the run began: an earlier run made them."""
    clips: int
    """Clips of the two times below: all but those of the first batch, in which libraries are set up."""
    cached_seconds: float
    """Reading features from the run's cache on one thread, from the disk or from what memory still has of it, and
    handing them to the device."""
    model_seconds: float
    """The model on them, logits on the CPU."""

    @property
    def cached_rate(self) -> float:
        """Clips per second from the run's cache."""
        return self.clips / max(self.cached_seconds, 1e-9)

    @property
    def model_rate(self) -> float:
        """Clips per second by the model."""
        return self.clips / max(self.model_seconds, 1e-9)

    @property
    def limits(self) -> SlowerSide:
        """The side that this cell waited for longer."""
        return slower(self.cached_rate, self.model_rate)

    @property
    def limits_from_source(self) -> SlowerSide | None:
        """The side that would limit without the run's cache; None where nobody timed that."""
        return None if self.preparation is None else slower(self.preparation.rate, self.model_rate)


def slower(loading: float, model: float) -> SlowerSide:
    """Return the side with fewer clips per second."""
    return "loading" if loading < model else "model"
