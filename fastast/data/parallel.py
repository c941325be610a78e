"""Do the same work on every clip of a set, in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastast.system.progress import progress_bar
from fastast.system.workers import Result, in_processes


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

    Raises what `work` raises. With one process, nothing is forked.
    """
    with progress_bar(what, len(items), shown=progress) as advance:
        for result in in_processes(work, items, processes, chunk=chunk, begin=_one_thread):
            yield result
            advance()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
