"""Timing several arms against each other, in interleaved rounds that keep every raw sample.

An *arm* is whatever is timed (the candidate, a baseline). A *round* times every arm once, in an order that rotates
from round to round, so that drift affects all arms alike. Interference does not: it hits some arms harder than others.
The load on the machine is therefore measured during every round of every arm, and disturbed rounds are repeated.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bench.measure.disturbance import Judge, RepeatedRound
from bench.measure.load import Load
from bench.measure.rounds import Observer, timed_attempt
from bench.measure.timing_rule import TimingRule
from fastast.statistics import MIN_ROUNDS, round_medians
from fastast.system.clocks import Call, Clock

__all__ = ["MIN_ROUNDS", "ArmTiming", "Timing", "TimingRule", "measure"]

SECOND_CHANCES = 4
"""Iterations that even a slow arm gets to settle after its first comparison: a single failed one means little."""


@dataclass(frozen=True, kw_only=True)
class ArmTiming:
    """The samples of one arm."""

    seconds: list[float]
    """Seconds of every timed iteration, in order."""
    iterations_per_round: int
    """Number of consecutive iterations that form a round."""
    warmup_seconds: list[float]
    """Seconds of every warm-up iteration."""
    warmup_stable: bool
    """Whether the warm-up ended because times were stable, not at its limit."""
    loads: list[Load]
    """Load during every round; empty without an observer."""

    def rounds(self) -> np.ndarray:
        """Return the median of every round in seconds, (rounds,)."""
        return round_medians(self.seconds, self.iterations_per_round)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The timing of all arms."""

    clock: str
    """Name of the clock."""
    rounds: int
    """Number of rounds kept."""
    arms: dict[str, ArmTiming]
    """Samples by arm."""
    noise: float
    """Largest relative spread of the per-round ratio between the first arm and another."""
    noise_attempts: list[float]
    """That spread for every attempt; the quietest attempt was kept."""
    noisy: bool
    """Whether even the attempt that was kept exceeds the limit."""
    repeated: list[RepeatedRound]
    """Disturbed rounds, which are not among the samples."""
    disturbed: str
    """What disturbed the rounds that were kept; usually empty."""


def measure(
    arms: Mapping[str, Call],
    rule: TimingRule,
    clock: Clock,
    *,
    observer: Observer | None = None,
    judge: Judge | None = None,
) -> Timing:
    """Warm up every arm, then time them in interleaved rounds; the first arm is the candidate.

    `observer` measures the load during every round of every arm, and `judge` decides which rounds were disturbed. These
    are repeated, up to as many as the rule asks for rounds. If too few undisturbed rounds remain, all are kept, and the
    timing says so.

    Raises ValueError if there are no arms.
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
            attempt = timed_attempt(arms, iterations, rule, clock, observer, judge)
            attempts.append(attempt.noise)
            if best is None or (bool(attempt.disturbed), attempt.noise) < (bool(best.disturbed), best.noise):
                best = attempt
            if attempt.disturbed or attempt.noise <= rule.noise_limit:
                break  # a disturbance would hit the next attempt too; measure again later
    assert best is not None
    timings = {
        name: ArmTiming(
            seconds=[value for one in best.rounds for value in one.seconds[name]],
            iterations_per_round=iterations[name],
            warmup_seconds=warm[name][0],
            warmup_stable=warm[name][1],
            loads=[one.loads[name] for one in best.rounds if one.loads],
        )
        for name in arms
    }
    return Timing(
        clock=clock.name,
        rounds=len(best.rounds),
        arms=timings,
        noise=best.noise,
        noise_attempts=attempts,
        noisy=best.noise > rule.noise_limit,
        repeated=best.repeated,
        disturbed=best.disturbed,
    )


def _warm_up(call: Call, rule: TimingRule, clock: Clock) -> tuple[list[float], bool]:
    """Return the seconds of every warm-up iteration and whether times became stable."""
    seconds: list[float] = []
    start, window = clock.now(), rule.warmup_window
    while True:
        seconds += clock.measure(call, 1)
        if len(seconds) < 2 * window:
            continue  # too few iterations to compare, however slow the arm is
        before = float(np.median(seconds[-2 * window : -window]))
        after = float(np.median(seconds[-window:]))
        if abs(after - before) <= rule.warmup_tolerance * before:
            return seconds, True
        late = clock.now() - start >= rule.warmup_seconds and len(seconds) >= 2 * window + SECOND_CHANCES
        if late or len(seconds) >= rule.warmup_iterations:
            return seconds, False


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
