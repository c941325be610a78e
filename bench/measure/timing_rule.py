"""The rule for when warm-up ends and how long to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimingRule:
    """When warm-up ends, how much to measure, and how much noise is too much."""

    rounds: int
    """Least number of rounds, unless `max_seconds` ends them; also the largest number of repeats of disturbed ones."""
    min_seconds: float
    """Least time in seconds that all rounds take together."""
    max_seconds: float
    """Seconds after which no further round starts, once there are enough for an interval."""
    min_samples: int = 1
    """Least number of samples per arm, unless `max_seconds` ends the rounds."""
    round_seconds: float = 0.02
    """Approximate seconds for which an arm is repeated within a round."""
    warmup_window: int = 3
    """Iterations per window: warm-up compares the medians of two consecutive windows."""
    warmup_tolerance: float = 0.05
    """Largest relative difference of the two medians that counts as stable."""
    warmup_iterations: int = 50
    """Iterations after which the warm-up of an arm ends even if unstable, but not before two windows."""
    warmup_seconds: float = 5.0
    """Seconds after which the warm-up of an arm ends even if unstable, but not before a few comparisons."""
    noise_limit: float = 0.1
    """Largest interquartile range of the per-round ratio, relative to its median, that is not too noisy."""
    noise_repeats: int = 2
    """How many times a measurement that is too noisy is repeated."""

    def __str__(self) -> str:
        return (
            f"until the median of {self.warmup_window} iterations is within {self.warmup_tolerance:.0%} of that of the "
            f"{self.warmup_window} before, at most {self.warmup_iterations} iterations or {self.warmup_seconds:g} s"
        )
