"""A progress bar on stderr for tasks that take long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bar(what: str, total: int, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Show a progress bar; the context value is a function that advances it by one."""
    if not shown:
        yield lambda: None
        return
    with make_bar(what, total) as bar:
        yield lambda: bar.advance(bar.task_ids[0])


def make_bar(what: str, total: int, done: int = 0) -> Progress:
    """Return a bar of one task that is not shown yet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task(what, total=total, completed=done)
    return bar
