"""Timing of several arms against each other: interleaved rounds, every raw sample kept.

An *arm* is something that is timed (the candidate, a baseline). A *round* times every arm once, in an order
that rotates from round to round, so that drift falls on all of them alike. Interference does not: it hits some arms
harder than others. So what else went on is measured beside every round of every arm, and a round that was disturbed
is repeated.
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
"""Iterations that an arm gets to settle after its first comparison, however slow it is: one that fails tells little."""


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
    loads: list[Load]
    """What else went on in every round; empty where nobody watched."""

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
    repeated: list[RepeatedRound]
    """Rounds that are not among the samples, as something disturbed them."""
    disturbed: str
    """What disturbed the rounds that were kept; empty where nothing did."""


def measure(
    arms: Mapping[str, Call],
    rule: TimingRule,
    clock: Clock,
    *,
    observer: Observer | None = None,
    judge: Judge | None = None,
) -> Timing:
    """Warm up every arm, then time them in interleaved rounds; the first arm is the candidate.

    `observer` watches every round of every arm, `judge` says which rounds it saw disturbed. Such a round is repeated,
    as often at most as the rule asks for rounds. Where too few are left then, all are kept, and the timing says so.

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
            attempt = timed_attempt(arms, iterations, rule, clock, observer, judge)
            attempts.append(attempt.noise)
            if best is None or (bool(attempt.disturbed), attempt.noise) < (bool(best.disturbed), best.noise):
                best = attempt
            if attempt.disturbed or attempt.noise <= rule.noise_limit:
                break  # what disturbs now will disturb the next attempt: later is better
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
    """Return the seconds of every warm-up iteration and whether they became stable."""
    seconds: list[float] = []
    start, window = clock.now(), rule.warmup_window
    while True:
        seconds += clock.measure(call, 1)
        if len(seconds) < 2 * window:
            continue  # its rule could not be met yet, however slow the arm is
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
