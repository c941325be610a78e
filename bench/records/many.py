"""Thousands of records at once: what is done with each of them, on all processors."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from fastast.processors import affinity

Given = TypeVar("Given")
Result = TypeVar("Result")

MANY = 500
"""From so many items on, a second processor is worth its start."""
_CHUNK = 50
"""Items that a process gets at a time."""


def each_of_many(work: Callable[[Given], Result], items: Sequence[Given]) -> Iterator[Result]:
    """Yield `work` of every item, in their order, and raise what it raises.

    Where there are `MANY` items it runs in a process per processor, so that it and its results must be pickled; it must
    leave alone what threads of this process may hold.
    """
    processes = affinity()
    if len(items) < MANY or processes < 2:
        yield from map(work, items)
        return
    forking = multiprocessing.get_context("fork")  # a script that calls this would be run again by a spawned process
    pool = ProcessPoolExecutor(processes, mp_context=forking, initializer=_begin)
    try:
        yield from pool.map(work, items, chunksize=_CHUNK)
    except BrokenProcessPool:
        raise RuntimeError(
            "a process that read records was ended from outside, for want of memory perhaps; give the command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Wait for the process that started this one to end, and end with it: whoever is killed tells nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the command decides
    threading.Thread(target=end_with_parent, daemon=True).start()
