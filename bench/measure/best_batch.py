"""The batch size with the highest throughput, searched by doubling.

Every arm gets its own: a reduced model takes less memory, and what fills a device is not the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bench.measure.machine import Facts

MIN_GAIN = 1.02
"""A larger batch must be faster than the best smaller one by this factor to count."""
PATIENCE = 2
"""The search ends after so many sizes in a row without gain: throughput has dents."""
ITERATIONS = 3
"""Timed forwards of each size, after one that is not."""


class Trial(Facts):
    """One batch size."""

    batch_size: int
    clips_per_s: float | None
    """None where it did not fit into memory."""


class Search(Facts):
    """How a batch size was found."""

    best: int
    ended: Literal["no gain", "memory", "limit"]
    """`limit` means that a still larger batch may be faster."""
    trials: tuple[Trial, ...]


def search_best_batch(
    time_batch: Callable[[int], float], *, limit: int, is_out_of_memory: Callable[[Exception], bool]
) -> Search:
    """Return the fastest of the powers of two up to `limit`.

    `time_batch` returns the seconds of one forward of so many clips, or raises what `is_out_of_memory` knows, which
    ends the search. Raises ValueError where not even one clip fits.
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
    """Return the seconds of a call's fastest run, after one that is not timed; `measure` is a clock's.

    The fastest, because whatever disturbs a run only adds to it, and a size is judged by few runs.
    """
    measure(call, 1)
    return min(measure(call, ITERATIONS))
