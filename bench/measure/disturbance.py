"""Detecting disturbed rounds by what the counters say, never by how long a round took.

Dropping slow rounds would make any model fast. The judge looks at causes instead: threads that waited for a processor,
processors used by others, time lost to a host, a quota or a stop, pages read from disk again; on a GPU its heat, its
power supply and its other users. Limits are far above what a quiet machine shows and far below the cost of a single
busy process (`docs/measuring_on_a_cpu.md`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure.load import Load
from bench.measure.machine import Facts
from bench.measure.nvml import SLOWDOWN

GRACE_S = 0.002
"""Seconds that a short task may take from a round without counting as a disturbance: a time slice."""
WAITED = 0.05
"""Largest share of a round that threads may wait for a processor, summed over threads."""
CROWDED = 0.15
"""Processors per thread of ours by which the total demand may exceed the available cores."""
STOLEN = 0.05
"""Processors per thread of ours that the host may take."""
THROTTLED = 0.01
"""Largest share of a round for which a CPU quota may throttle the container."""
ASLEEP = 0.1
"""Largest share of a round in which no thread runs, or in which the calling thread sleeps longer than usual."""
MAJOR_FAULTS = 5
"""Number of pages read from a disk again that makes a round disturbed."""
GPU_OTHERS = 0.05
"""Largest share of the multiprocessors' time that other processes may use."""
COARSE_S = 0.2
"""Seconds: rounds shorter than this are judged together, as machine-wide counters tick only 100 times per second."""
ENOUGH = 3
"""Number of rounds from which the usual behaviour of an arm is known."""

WORDS = {
    "waited": "threads waited for a processor",
    "crowded": "other processes used the cores",
    "stolen": "the host took processors from this virtual machine",
    "throttled": "a quota kept the container from its processors",
    "asleep": "the process stood still",
    "paged": "pages were read from the disk again: too little memory",
    "gpu_slowed": "the GPU was slowed for its heat or supply",
    "gpu_shared": "other processes used the GPU",
}
"""Each verdict in words."""

Round = Mapping[str, Load]
"""By arm, the load while it was timed."""


class RepeatedRound(Facts):
    """A disturbed round, which is not among the samples."""

    reasons: tuple[str, ...]
    """Keys of `WORDS`."""
    seconds: dict[str, float]
    """Its median by arm, which shows the effect of leaving it out."""


class Disturbance(Facts):
    """The disturbances of a performance cell."""

    reasons: tuple[str, ...]
    """Why its numbers may be off, in words; usually empty."""
    repeated: tuple[RepeatedRound, ...]
    """Rounds that were measured again."""
    unread: tuple[str, ...]
    """Fields of `Load` that this machine does not report, so that such disturbances would have gone unseen."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Decides which rounds were disturbed, and by what."""

    cores: int
    """Physical cores that this process may use."""
    device: str = "cpu"
    """Device that runs the arms, `cpu` or `cuda`."""
    processors: float = math.inf
    """Logical processors that this process may use; others cannot have used more than it left idle."""

    def each(self, rounds: Sequence[Round]) -> list[tuple[str, ...]]:
        """Return, for every round, the keys of `WORDS` that disturbed it; empty for an undisturbed round.

        The sleep of the calling thread is compared with its usual sleep in rounds of the same arm. So is the waiting
        of threads, as far as they wait for one another: threads that kept every processor busy throughout can only
        have waited for one another.
        """
        sleep, queue = _usual_sleep(rounds), _usual_queue(rounds, self.processors)
        found = [
            {
                reason
                for name, load in loads.items()
                for reason in self._of_round(load, sleep.get(name), queue.get(name, 0.0))
            }
            for loads in rounds
        ]
        for block in _blocks(rounds):
            coarse = self._of_machine([load for i in block for load in rounds[i].values()])
            for i in block:
                found[i] |= coarse
        return [tuple(name for name in WORDS if name in reasons) for reasons in found]

    def together(self, rounds: Sequence[Round]) -> tuple[str, ...]:
        """Return what disturbed the rounds as a whole: small disturbances of each can add up."""
        loads = [load for one in rounds for load in one.values()]
        reasons = self._of_machine(loads) if loads else set()
        waited = _mean(loads, "waited") if loads else None
        if waited is not None:
            queue = _usual_queue(rounds, self.processors)
            seconds = sum(load.seconds for load in loads)
            excused = sum(queue.get(name, 0.0) * load.seconds for one in rounds for name, load in one.items()) / seconds
            if min(waited - excused, self.processors - (_mean(loads, "own") or 0.0)) > WAITED:
                reasons.add("waited")
        return tuple(name for name in WORDS if name in reasons)

    def unread(self, loads: Sequence[Load]) -> tuple[str, ...]:
        """Return the signals that are missing from every load."""
        names = ["waited", "others", "stolen", "throttled", "pressure"]
        names += ["gpu_clock_mhz", "gpu_reasons", "gpu_others"] if self.device == "cuda" else []
        return tuple(name for name in names if all(getattr(load, name) is None for load in loads))

    def _of_machine(self, loads: Sequence[Load]) -> set[str]:
        """Return what disturbed a stretch of rounds, according to machine-wide counters, which tick coarsely."""
        reasons, threads = set(), loads[0].threads
        others, stolen = _mean(loads, "others"), _mean(loads, "stolen")
        if self.device == "cpu" and others is not None and others + threads > self.cores + CROWDED * threads:
            reasons.add("crowded")
        if stolen is not None and stolen > STOLEN * threads:
            reasons.add("stolen")
        return reasons

    def _of_round(self, load: Load, usual_sleep: float | None, usual_queue: float) -> Iterator[str]:
        """Yield what disturbed an arm's round, according to exact counters."""
        grace = GRACE_S / load.seconds
        if load.waited is not None:
            if min(load.waited - usual_queue, self.processors - load.own) > WAITED + grace:
                yield "waited"
        elif load.pressure is not None and load.pressure[0] > WAITED + grace:
            yield "waited"  # some task did: without per-thread statistics the kernel does not say which
        if load.throttled is not None and load.throttled > THROTTLED + grace:
            yield "throttled"
        if load.major_faults >= MAJOR_FAULTS:
            yield "paged"
        if self.device == "cpu" and load.waited is not None and load.idle is not None:
            nobody = 1 - load.own - load.waited
            beyond = load.idle - usual_sleep if usual_sleep is not None else 0.0
            if max(nobody, beyond) > ASLEEP + grace:
                yield "asleep"
        if load.gpu_reasons is not None and load.gpu_reasons & SLOWDOWN:
            yield "gpu_slowed"
        if load.gpu_others is not None and load.gpu_others > GPU_OTHERS:
            yield "gpu_shared"


def in_words(reasons: Collection[str]) -> str:
    """Return reasons in words."""
    return ", ".join(words for name, words in WORDS.items() if name in reasons)


def _mean(loads: Sequence[Load], name: str) -> float | None:
    """Return the time-weighted mean of a rate over all loads; None if any load lacks it."""
    values = [getattr(load, name) for load in loads]
    if any(value is None for value in values):
        return None
    seconds = sum(load.seconds for load in loads)
    return float(sum(value * load.seconds for value, load in zip(values, loads, strict=True)) / seconds)


def _usual_queue(rounds: Sequence[Round], processors: float) -> dict[str, float]:
    """Return, by arm, the share of a round that this process's threads wait for one another, if rounds can tell.

    An arm may have more threads than cores, such as those of another runtime in addition to PyTorch's. Its threads
    cannot wait for other processes longer than these ran; any waiting beyond that, in the half of the rounds that waits
    least, is the arm's own. If no more threads ran than there are `processors`, none can have waited for another: the
    cause is a process that no counter shows, as in a container that sees only itself.
    """
    if len(rounds) < ENOUGH:
        return {}
    usual = {}
    for name in rounds[0]:
        loads = [one[name] for one in rounds]
        if any(load.waited is None for load in loads):
            continue
        if all(load.active is not None and load.active <= processors for load in loads):
            continue
        loads.sort(key=lambda load: load.waited or 0.0)
        quieter = loads[: (len(loads) + 1) // 2]
        waited, others, stolen = (_mean(quieter, field) for field in ("waited", "others", "stolen"))
        if waited is not None and others is not None:
            usual[name] = max(0.0, waited - others - (stolen or 0.0))
    return usual


def _usual_sleep(rounds: Sequence[Round]) -> dict[str, float]:
    """Return, by arm, the median share of a round that the calling thread slept, if there are enough rounds."""
    if len(rounds) < ENOUGH:
        return {}
    slept = {name: [one[name].idle for one in rounds] for name in rounds[0]}
    return {
        name: median(value for value in values if value is not None)
        for name, values in slept.items()
        if all(value is not None for value in values)
    }


def _blocks(rounds: Sequence[Round]) -> Iterator[range]:
    """Yield stretches of rounds long enough for coarse counters; a remainder that is too short is not judged yet."""
    first, seconds = 0, 0.0
    for i, loads in enumerate(rounds):
        seconds += sum(load.seconds for load in loads.values())
        if seconds >= COARSE_S:
            yield range(first, i + 1)
            first, seconds = i + 1, 0.0
