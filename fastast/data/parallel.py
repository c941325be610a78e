"""The same work on every clip of a set, in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fastast.progress import progress_bar

Result = TypeVar("Result")
_work: Callable[[Any], Any]
"""What a process of the pool does; it is inherited by fork, not sent."""


def default_processes() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    items: Sequence[Any],
    work: Callable[[Any], Result],
    *,
    what: str,
    processes: int,
    progress: bool,
    chunk: int = 8,
) -> Iterator[Result]:
    """Yield the results of `work`, in the order of `items`, with a bar called `what` on stderr.

    Raises what `work` raises. With one process nothing is forked.
    """
    global _work
    with progress_bar(what, len(items), shown=progress) as advance:
        if processes <= 1 or len(items) < 2:
            for item in items:
                yield work(item)
                advance()
            return
        _work = work
        with multiprocessing.get_context("fork").Pool(min(processes, len(items)), _begin) as pool:
            for result in pool.imap(_do, items, chunk):
                yield result
                advance()


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _do(item: Any) -> Any:
    return _work(item)
