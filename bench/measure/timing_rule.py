"""When a measurement of time begins and ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimingRule:
    """When warm-up ends, how much is measured, and what is too noisy."""

    rounds: int
    """Rounds measured at least, unless `max_seconds` ends them; as many at most are repeated for disturbances."""
    min_seconds: float
    """Rounds go on until they took this long, in seconds."""
    max_seconds: float
    """No round starts later than this, in seconds, once there are enough for an interval."""
    min_samples: int = 1
    """Rounds go on until every arm has so many samples, unless `max_seconds` ends them."""
    round_seconds: float = 0.02
    """An arm is repeated within a round until it took about this long, in seconds."""
    warmup_window: int = 3
    """Warm-up compares the median of so many iterations with that of as many before them."""
    warmup_tolerance: float = 0.05
    """Largest relative difference of the two medians that counts as stable."""
    warmup_iterations: int = 50
    """Warm-up of an arm ends here even where it is not stable, if two windows were made."""
    warmup_seconds: float = 5.0
    """Warm-up of an arm ends here even where it is not stable, in seconds, if two windows were compared a few times."""
    noise_limit: float = 0.1
    """Largest inter-quartile range of the per-round ratio, relative to its median, of a good run."""
    noise_repeats: int = 2
    """A run that is too noisy is measured again so many times."""

    def __str__(self) -> str:
        return (
            f"until the median of {self.warmup_window} iterations is within {self.warmup_tolerance:.0%} of that of the "
            f"{self.warmup_window} before, at most {self.warmup_iterations} iterations or {self.warmup_seconds:g} s"
        )
