"""Clocks for the two kinds of device, CPU and GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Call = Callable[[], object]
T = TypeVar("T")


class Clock(Protocol):
    """A clock that times calls."""

    name: str
    """Name of the time source."""

    def now(self) -> float:
        """Return the wall time in seconds."""
        ...

    def measure(self, call: Call, iterations: int) -> list[float]:
        """Return the seconds that each of `iterations` calls took."""
        ...


def rotated(arms: Sequence[T], number: int) -> list[T]:
    """Return the arms in the order for a round: each goes first equally often, so that drift affects all alike."""
    shift = number % len(arms)
    return [*arms[shift:], *arms[:shift]]


def nothing() -> None:
    """Do nothing: the default `flush` of a clock."""


class WallClock:
    """Times each call with `time.perf_counter`; `flush` runs before each call and is not timed."""

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
    """Times each call with CUDA events, and synchronises once after all calls; `flush` runs before each, untimed."""

    name = "cuda_event"
    now = staticmethod(time.perf_counter)

    def __init__(self, flush: Call = nothing) -> None:
        self._flush = flush

    def measure(self, call: Call, iterations: int) -> list[float]:
        """Return the device time in seconds between the events around each of `iterations` calls."""
        import torch

        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(iterations)]
        torch.cuda.synchronize()
        for start, end in events:
            self._flush()  # in the same stream, so it has finished when `start` is recorded
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in events]
