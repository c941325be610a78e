"""Whether something else disturbed a round, by what the counters say and never by how long it took.

To drop the slow rounds would make any model fast. What is looked at are causes: threads that waited for a processor,
processors that others used, time that a host, a quota or a stop took away, pages that had to be read again; of a GPU
its heat, its supply and its other users. Limits are far above what a quiet machine shows and far below what one busy
process costs (`docs/measuring_on_a_cpu.md`).
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
"""A time slice that one short task takes from a round, seconds, is no disturbance."""
WAITED = 0.05
"""Largest share of a round that threads may have waited for a processor, all threads together."""
CROWDED = 0.15
"""Processors for each of our threads by which others' and our demand may exceed the cores there are."""
STOLEN = 0.05
"""Processors for each of our threads that the host may have taken."""
THROTTLED = 0.01
"""Largest share of a round in which a quota may have kept the container from its processors."""
ASLEEP = 0.1
"""Largest share of a round in which nobody ran, or in which the calling thread slept beyond its usual."""
MAJOR_FAULTS = 5
"""Reads from a disk for pages that were in memory before."""
GPU_OTHERS = 0.05
"""Largest share of the multiprocessors' time that other processes may have used."""
COARSE_S = 0.2
"""Counters of the whole machine move a hundred times per second: shorter rounds are judged together, seconds."""
ENOUGH = 3
"""Rounds that tell what is usual."""

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
"""What each verdict says."""

Round = Mapping[str, Load]
"""By arm, what went on while it was timed."""


class RepeatedRound(Facts):
    """A round that was disturbed and is not among the samples."""

    reasons: tuple[str, ...]
    """Of `WORDS`."""
    seconds: dict[str, float]
    """Its median, by arm: what leaving it out did can be seen."""


class Disturbance(Facts):
    """What disturbed a performance cell."""

    reasons: tuple[str, ...]
    """Why its numbers may be off, in words; empty where nothing speaks against them."""
    repeated: tuple[RepeatedRound, ...]
    """Rounds that were measured again."""
    unread: tuple[str, ...]
    """Fields of `Load` that this machine does not tell: what they show would not have been seen."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Says what disturbed rounds."""

    cores: int
    """Physical cores that this process may use."""
    device: str = "cpu"
    """`cpu` or `cuda`: what runs the arms."""
    processors: float = math.inf
    """Logical processors that this process may use: others can have had no more than it left of them."""

    def each(self, rounds: Sequence[Round]) -> list[tuple[str, ...]]:
        """Return for every round what disturbed it, of `WORDS`: nothing for one that was not.

        What the calling thread sleeps is compared with its usual in the other rounds of the same arm, and so is what
        threads wait, as far as they wait for one another. Where they ran all the time on every processor, it was for
        one another only that they waited.
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
        """Return what disturbed all rounds as a whole: little in each of them adds up."""
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
        """Return the signals that no load has."""
        names = ["waited", "others", "stolen", "throttled", "pressure"]
        names += ["gpu_clock_mhz", "gpu_reasons", "gpu_others"] if self.device == "cuda" else []
        return tuple(name for name in names if all(getattr(load, name) is None for load in loads))

    def _of_machine(self, loads: Sequence[Load]) -> set[str]:
        """Return what disturbed some time of measurement, by counters that move in hundredths of a second."""
        reasons, threads = set(), loads[0].threads
        others, stolen = _mean(loads, "others"), _mean(loads, "stolen")
        if self.device == "cpu" and others is not None and others + threads > self.cores + CROWDED * threads:
            reasons.add("crowded")
        if stolen is not None and stolen > STOLEN * threads:
            reasons.add("stolen")
        return reasons

    def _of_round(self, load: Load, usual_sleep: float | None, usual_queue: float) -> Iterator[str]:
        """Yield what disturbed an arm's round, by counters that are exact."""
        grace = GRACE_S / load.seconds
        if load.waited is not None:
            if min(load.waited - usual_queue, self.processors - load.own) > WAITED + grace:
                yield "waited"
        elif load.pressure is not None and load.pressure[0] > WAITED + grace:
            yield "waited"  # whoever waited: a kernel that does not tell of threads tells no better
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
    """Return reasons as a person reads them."""
    return ", ".join(words for name, words in WORDS.items() if name in reasons)


def _mean(loads: Sequence[Load], name: str) -> float | None:
    """Return a rate over the time of all loads, None where one of them has none."""
    values = [getattr(load, name) for load in loads]
    if any(value is None for value in values):
        return None
    seconds = sum(load.seconds for load in loads)
    return float(sum(value * load.seconds for value, load in zip(values, loads, strict=True)) / seconds)


def _usual_queue(rounds: Sequence[Round], processors: float) -> dict[str, float]:
    """Return by arm the share of a round that this process's threads wait for one another, where rounds can tell.

    An arm may have more threads than cores: a runtime's beside PyTorch's, say. None waits for others longer than others
    ran; what is waited beyond that, in the half of the rounds that waits least, is the arm's own. Where no more threads
    ran than there are `processors`, none of them can have waited for another: somebody was there whom no counter shows,
    as in a container that sees itself alone.
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
    """Return the median share that the calling thread slept, by arm, where there are rounds enough to tell."""
    if len(rounds) < ENOUGH:
        return {}
    slept = {name: [one[name].idle for one in rounds] for name in rounds[0]}
    return {
        name: median(value for value in values if value is not None)
        for name, values in slept.items()
        if all(value is not None for value in values)
    }


def _blocks(rounds: Sequence[Round]) -> Iterator[range]:
    """Yield runs of rounds that are long enough for coarse counters; a rest that is too short is not judged yet."""
    first, seconds = 0, 0.0
    for i, loads in enumerate(rounds):
        seconds += sum(load.seconds for load in loads.values())
        if seconds >= COARSE_S:
            yield range(first, i + 1)
            first, seconds = i + 1, 0.0
