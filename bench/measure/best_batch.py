"""Search for the batch size with the highest throughput, by doubling.

Every arm gets its own: a reduced model needs less memory and saturates a device at another batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bench.measure.machine import Facts

MIN_GAIN = 1.02
"""A larger batch must be faster than the best smaller one by this factor to count."""
PATIENCE = 2
"""Number of consecutive sizes without gain that ends the search; one is not enough, as throughput has dents."""
ITERATIONS = 3
"""Timed forward passes per size, after an untimed one."""


class Trial(Facts):
    """One batch size."""

    batch_size: int
    clips_per_s: float | None
    """Throughput; None if the batch did not fit into memory."""


class Search(Facts):
    """The search and its result."""

    best: int
    ended: Literal["no gain", "memory", "limit"]
    """Why the search ended; after `limit`, an even larger batch may be faster."""
    trials: tuple[Trial, ...]


def search_best_batch(
    time_batch: Callable[[int], float], *, limit: int, is_out_of_memory: Callable[[Exception], bool]
) -> Search:
    """Return the fastest power of two up to `limit`.

    `time_batch` takes a number of clips and returns the seconds of their forward pass; an exception for which
    `is_out_of_memory` is true ends the search. Raises ValueError if not even one clip fits.
    """
    trials: list[Trial] = []
    best: tuple[float, int] | None = None
    size, idle, ended = 1, 0, "limit"
    while size <= limit:
        try:
            throughput = size / time_batch(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            trials.append(Trial(batch_size=size, clips_per_s=None))
            ended = "memory"
            break
        trials.append(Trial(batch_size=size, clips_per_s=throughput))
        if best is None or throughput > MIN_GAIN * best[0]:
            best, idle = (throughput, size), 0
        else:
            idle += 1
            if idle == PATIENCE:
                ended = "no gain"
                break
        size *= 2
    if best is None:
        raise ValueError("best batch: a single clip does not fit into memory")
    return Search(best=best[1], ended=ended, trials=tuple(trials))  # type: ignore[arg-type]


def fastest_seconds(call: Callable[[], object], measure: Callable[[Callable[[], object], int], list[float]]) -> float:
    """Return the seconds of a call's fastest run, after an untimed one; `measure` is a clock's method.

    The fastest, because disturbances can only add time, and there are few runs per size.
    """
    measure(call, 1)
    return min(measure(call, ITERATIONS))
