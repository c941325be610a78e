"""Interleaved rounds: timed, observed, and repeated if something disturbed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.measure.disturbance import Judge, RepeatedRound, in_words
from bench.measure.load import Load
from bench.measure.timing_rule import TimingRule
from fastast.statistics import MIN_ROUNDS, relative_spread, round_medians
from fastast.system.clocks import Call, Clock, rotated


class Observer(Protocol):
    """Observes the machine while an arm is timed, as `bench.measure.load.Meter` does."""

    def start(self) -> None:
        """Begin to observe an arm's round."""
        ...

    def stop(self, iterations: int) -> Load:
        """Return the load since `start`."""
        ...


@dataclass(frozen=True, kw_only=True)
class TimedRound:
    """One round."""

    seconds: dict[str, list[float]]
    loads: dict[str, Load]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A series of rounds."""

    rounds: list[TimedRound]
    """Rounds that were kept."""
    repeated: list[RepeatedRound]
    disturbed: str
    noise: float


def timed_attempt(
    arms: Mapping[str, Call],
    iterations: Mapping[str, int],
    rule: TimingRule,
    clock: Clock,
    observer: Observer | None,
    judge: Judge | None,
) -> Attempt:
    """Time rounds until enough were undisturbed or too many disturbed."""
    rounds: list[TimedRound] = []
    verdicts: Sequence[tuple[str, ...]] = []
    wanted, start = max(rule.rounds, MIN_ROUNDS), clock.now()
    while not _over(verdicts, iterations, rule, wanted, clock.now() - start):
        rounds.append(_one_round(arms, rotated(list(arms), len(rounds)), iterations, clock, observer))
        # Judge all rounds anew: usual behaviour and slow counters need several rounds.
        verdicts = judge.each([one.loads for one in rounds]) if judge and observer else [()] * len(rounds)
    kept = [one for one, reasons in zip(rounds, verdicts, strict=True) if not reasons]
    if len(kept) >= MIN_ROUNDS:
        repeated = [
            RepeatedRound(reasons=reasons, seconds={name: float(np.median(one.seconds[name])) for name in arms})
            for one, reasons in zip(rounds, verdicts, strict=True)
            if reasons
        ]
        whole = judge.together([one.loads for one in kept]) if judge and observer else ()
        disturbed = f"all rounds together were disturbed: {in_words(whole)}" if whole else ""
        return Attempt(rounds=kept, repeated=repeated, disturbed=disturbed, noise=_noise(kept, iterations))
    why = in_words({reason for reasons in verdicts for reason in reasons})
    disturbed = f"{len(rounds) - len(kept)} of {len(rounds)} rounds were disturbed: {why}"
    return Attempt(rounds=rounds, repeated=[], disturbed=disturbed, noise=_noise(rounds, iterations))


def _over(
    verdicts: Sequence[tuple[str, ...]], iterations: Mapping[str, int], rule: TimingRule, wanted: int, elapsed: float
) -> bool:
    """Return whether the rounds so far suffice, or more would be futile."""
    good = sum(not reasons for reasons in verdicts)
    if len(verdicts) - good >= wanted:
        return True
    if good < MIN_ROUNDS:
        return False
    samples = good * min(iterations.values())
    return elapsed >= rule.max_seconds or (
        good >= wanted and elapsed >= rule.min_seconds and samples >= rule.min_samples
    )


def _one_round(
    arms: Mapping[str, Call],
    order: Sequence[str],
    iterations: Mapping[str, int],
    clock: Clock,
    observer: Observer | None,
) -> TimedRound:
    seconds, loads = {}, {}
    for name in order:
        if observer is not None:
            observer.start()
        seconds[name] = clock.measure(arms[name], iterations[name])
        if observer is not None:
            loads[name] = observer.stop(iterations[name])
    return TimedRound(seconds=seconds, loads=loads)


def _noise(rounds: Sequence[TimedRound], iterations: Mapping[str, int]) -> float:
    """Return the largest relative spread of a ratio between the first arm and another; 0 for a single arm."""
    medians = [
        round_medians([value for one in rounds for value in one.seconds[name]], count)
        for name, count in iterations.items()
    ]
    first, *others = medians
    return max((relative_spread(other, first) for other in others), default=0.0)
