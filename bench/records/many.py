"""Process thousands of records on all processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fastast.system.processors import affinity
from fastast.system.workers import Given, Result, in_processes

MANY = 500
"""Number of items from which on starting more processes pays off."""
_CHUNK = 50
"""Number of items that a process gets at a time."""


def each_of_many(work: Callable[[Given], Result], items: Sequence[Given]) -> Iterator[Result]:
    """Yield `work` of every item, as `in_processes` does; on all processors from `MANY` items on."""
    return in_processes(work, items, affinity() if len(items) >= MANY else 1, chunk=_CHUNK)
