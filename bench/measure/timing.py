"""Timing of several arms against each other: interleaved rounds, every raw sample kept.

An *arm* is something that is timed (the candidate, a baseline). A *round* times every arm once, in an order
that rotates from round to round, so that drift and interference fall on all of them alike.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bench.measure.clocks import Call, Clock, nothing
from bench.measure.statistics import relative_spread, round_medians


@dataclass(frozen=True, kw_only=True)
class TimingRule:
    """When warm-up ends, how much is measured, and what is too noisy."""

    rounds: int
    """Rounds measured at least, unless `max_seconds` ends them."""
    min_seconds: float
    """Rounds go on until they took this long, in seconds."""
    max_seconds: float
    """No round starts later than this, in seconds; three are always made."""
    min_samples: int = 1
    """Rounds go on until every arm has so many samples, unless `max_seconds` ends them."""
    round_seconds: float = 0.02
    """An arm is repeated within a round until it took about this long, in seconds."""
    warmup_window: int = 3
    """Warm-up compares the median of so many iterations with that of as many before them."""
    warmup_tolerance: float = 0.05
    """Largest relative difference of the two medians that counts as stable."""
    warmup_iterations: int = 50
    """Warm-up of an arm ends here even where it is not stable."""
    warmup_seconds: float = 5.0
    """Warm-up of an arm ends here even where it is not stable, in seconds."""
    noise_limit: float = 0.1
    """Largest inter-quartile range of the per-round ratio, relative to its median, of a good run."""
    noise_repeats: int = 2
    """A run that is too noisy is measured again so many times."""

    def __str__(self) -> str:
        return (
            f"until the median of {self.warmup_window} iterations is within {self.warmup_tolerance:.0%} of that of the "
            f"{self.warmup_window} before, at most {self.warmup_iterations} iterations or {self.warmup_seconds:g} s"
        )


MIN_ROUNDS = 3
"""Fewer rounds have no quartiles worth the name."""


@dataclass(frozen=True, kw_only=True)
class ArmTiming:
    """The samples of one arm."""

    seconds: list[float]
    """Every timed iteration in the order of measurement, seconds."""
    iterations_per_round: int
    """Iterations that stand together as one round."""
    warmup_seconds: list[float]
    """Every iteration of the warm-up, seconds."""
    warmup_stable: bool
    """Whether the warm-up ended by its rule and not at its limit."""

    def rounds(self) -> np.ndarray:
        """Return the median of every round, (rounds,)."""
        return round_medians(self.seconds, self.iterations_per_round)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was measured of all arms."""

    clock: str
    """Name of the clock."""
    rounds: int
    """Rounds measured."""
    arms: dict[str, ArmTiming]
    """Samples by name of the arm."""
    noise: float
    """The largest relative spread of the first arm's per-round ratio to another arm."""
    noise_attempts: list[float]
    """That spread for every attempt; the quietest one was kept."""
    noisy: bool
    """Whether every attempt was above the limit."""


def measure(arms: Mapping[str, Call], rule: TimingRule, clock: Clock, *, after_round: Call = nothing) -> Timing:
    """Warm up every arm, then time them in interleaved rounds; the first arm is the candidate.

    `after_round` is called, untimed, when a round ends: to look at clocks while the device is still hot.

    Raises ValueError for no arms.
    """
    if not arms:
        raise ValueError("timing: no arms to measure")
    with _no_garbage_collection():
        warm = {name: _warm_up(call, rule, clock) for name, call in arms.items()}
        iterations = {
            name: max(1, math.ceil(rule.round_seconds / max(float(np.median(seconds[-3:])), 1e-9)))
            for name, (seconds, _) in warm.items()
        }
        best, attempts = None, []
        for _ in range(1 + rule.noise_repeats):
            samples = _rounds(arms, iterations, rule, clock, after_round)
            attempts.append(_noise(samples, iterations))
            if best is None or attempts[-1] == min(attempts):
                best = samples
            if attempts[-1] <= rule.noise_limit:
                break
    assert best is not None
    timings = {
        name: ArmTiming(
            seconds=best[name],
            iterations_per_round=iterations[name],
            warmup_seconds=warm[name][0],
            warmup_stable=warm[name][1],
        )
        for name in arms
    }
    first = next(iter(arms))
    return Timing(
        clock=clock.name,
        rounds=len(best[first]) // iterations[first],
        arms=timings,
        noise=min(attempts),
        noise_attempts=attempts,
        noisy=min(attempts) > rule.noise_limit,
    )


def _warm_up(call: Call, rule: TimingRule, clock: Clock) -> tuple[list[float], bool]:
    """Return the seconds of every warm-up iteration and whether they became stable."""
    seconds: list[float] = []
    start, window = clock.now(), rule.warmup_window
    while len(seconds) < rule.warmup_iterations:
        seconds += clock.measure(call, 1)
        if len(seconds) >= 2 * window:
            before = float(np.median(seconds[-2 * window : -window]))
            after = float(np.median(seconds[-window:]))
            if abs(after - before) <= rule.warmup_tolerance * before:
                return seconds, True
        if clock.now() - start >= rule.warmup_seconds:
            break
    return seconds, False


def _rounds(
    arms: Mapping[str, Call], iterations: Mapping[str, int], rule: TimingRule, clock: Clock, after_round: Call
) -> dict[str, list[float]]:
    """Return the samples of one attempt."""
    samples: dict[str, list[float]] = {name: [] for name in arms}
    names, start, done = list(arms), clock.now(), 0
    while True:
        elapsed = clock.now() - start
        if done >= MIN_ROUNDS and elapsed >= rule.max_seconds:
            return samples
        enough = done >= max(rule.rounds, MIN_ROUNDS) and elapsed >= rule.min_seconds
        if enough and min(len(seconds) for seconds in samples.values()) >= rule.min_samples:
            return samples
        shift = done % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name] += clock.measure(arms[name], iterations[name])
        after_round()
        done += 1


def _noise(samples: Mapping[str, list[float]], iterations: Mapping[str, int]) -> float:
    """Return the largest relative spread of the first arm's ratio to another; 0 for a single arm."""
    first, *others = [round_medians(samples[name], iterations[name]) for name in samples]
    return max((relative_spread(other, first) for other in others), default=0.0)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from running inside a measurement."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
