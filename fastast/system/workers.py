"""Do the same work on every item of a list in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")
_work: Callable[[Any], Any]
"""The work of a process; inherited by fork, not pickled, so it may be a closure or have an open file."""


def in_processes(
    work: Callable[[Given], Result],
    items: Sequence[Given],
    processes: int,
    *,
    chunk: int,
    begin: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield the result of `work` for each item, in order, and raise what it raises.

    With one process, or fewer than two items, the work is done in this process. Otherwise items and results are
    pickled, each process gets `chunk` items at a time and calls `begin` first, and `work` must not use anything that
    threads of this process may hold, such as a lock. Raises RuntimeError if a process is killed.
    """
    if processes <= 1 or len(items) < 2:
        yield from map(work, items)
        return
    forking = multiprocessing.get_context("fork")  # a spawned process would run the calling script again
    pool = ProcessPoolExecutor(
        min(processes, len(items)), mp_context=forking, initializer=_begin, initargs=(work, begin)
    )
    try:
        yield from pool.map(_do, items, chunksize=chunk)
    except BrokenProcessPool:
        raise RuntimeError(
            "a process that did part of the work was killed, perhaps because memory ran out; run the command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Wait for the parent process to end, and end with it: a process that is killed cannot tell its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _begin(work: Callable[[Any], Any], begin: Callable[[], object] | None) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group, and one traceback is enough
    threading.Thread(target=end_with_parent, daemon=True).start()
    if begin is not None:
        begin()


def _do(item: Any) -> Any:
    return _work(item)
