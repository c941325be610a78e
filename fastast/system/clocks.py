"""The clocks of the two kinds of device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Call = Callable[[], object]
T = TypeVar("T")


class Clock(Protocol):
    """Something that times calls."""

    name: str

    def now(self) -> float:
        """Return the wall time in seconds."""
        ...

    def measure(self, call: Call, iterations: int) -> list[float]:
        """Return the seconds that each of `iterations` calls took."""
        ...


def rotated(arms: Sequence[T], number: int) -> list[T]:
    """Return arms in the order of a round: each goes first once in as many rounds, so that drift falls on all alike."""
    shift = number % len(arms)
    return [*arms[shift:], *arms[:shift]]


def nothing() -> None:
    """Do nothing: what a clock flushes where nothing is to be flushed."""


class WallClock:
    """`time.perf_counter` around each call; `flush` runs before each and is not timed."""

    name = "perf_counter"

    def __init__(self, now: Callable[[], float] = time.perf_counter, flush: Call = nothing) -> None:
        self.now = now
        self._flush = flush

    def measure(self, call: Call, iterations: int) -> list[float]:
        """Return the seconds that each of `iterations` calls took."""
        seconds = []
        for _ in range(iterations):
            self._flush()
            start = self.now()
            call()
            seconds.append(self.now() - start)
        return seconds


class CudaClock:
    """CUDA events around each call, and one synchronise behind all of them; `flush` runs before each, untimed."""

    name = "cuda_event"
    now = staticmethod(time.perf_counter)

    def __init__(self, flush: Call = nothing) -> None:
        self._flush = flush

    def measure(self, call: Call, iterations: int) -> list[float]:
        """Return the seconds of device time between the events of each of `iterations` calls."""
        import torch

        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(iterations)]
        torch.cuda.synchronize()
        for start, end in events:
            self._flush()  # in the same stream, so it is over when the event is
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in events]
