"""What a run prints: one line per cell, and on a terminal a bar with the time left."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from bench.records.schema import Record
from bench.records.speedup import speedup_over
from fastast.statistics import MIN_ROUNDS, Estimate

if TYPE_CHECKING:
    from rich.progress import TaskID

    from bench.sweep.cells import Cell
    from bench.sweep.listing import ListedCell


class TimeLeft:
    """An estimate of the time left, from the cells of the same kind that are done."""

    def __init__(self, cells: Iterable[Cell | ListedCell]) -> None:
        self._left: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        for cell in cells:
            self._left[cell.kind] += 1

    def expect(self, kind: str) -> None:
        """Note one more cell of a kind."""
        self._left[kind] += 1

    def done(self, kind: str, seconds: float) -> None:
        """Note how many seconds a cell of a kind took."""
        self._left[kind] -= 1
        self._seconds[kind].append(seconds)

    def estimate(self) -> float | None:
        """Return the seconds left; None before the first cell is done."""
        everything = [value for values in self._seconds.values() for value in values]
        if not everything:
            return None
        left = 0.0
        for kind, count in self._left.items():
            known = self._seconds[kind] or everything
            left += count * sum(known) / len(known)
        return left


class Progress:
    """Prints what a run does; a context manager."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._bar: Any = None
        self._task: TaskID | None = None
        self._done, self._total = 0, 0
        self._left: TimeLeft | None = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.description}"),
                progress.TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
                refresh_per_second=1,  # drawing takes processor time from what is measured
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def plan(self, cells: Sequence[Cell]) -> None:
        """Note which cells will run."""
        self._total, self._left = len(cells), TimeLeft(cells)
        if self._bar is not None:
            self._task = self._bar.add_task("", total=self._total)

    def expect(self, cells: Iterable[Cell]) -> None:
        """Note cells that will run again, so that the estimate includes them."""
        for cell in cells:
            self._total += 1
            if self._left is not None:
                self._left.expect(cell.kind)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def begin(self, cell: Cell) -> None:
        """Show which cell runs now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"{cell.title}{self._time_left()}")

    def end(self, cell: Cell, record: Record) -> None:
        """Print the line of a cell that is done."""
        assert self._left is not None
        self._done += 1
        seconds = (record.finished - record.started).total_seconds()
        self._left.done(cell.kind, seconds)
        width = len(str(self._total))
        self.say(
            f"[{self._done:{width}}/{self._total}] {record.status:7} {seconds:6.1f} s  {cell.title}"
            f"{result_text(record)}{self._time_left()}"
        )
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)

    def _time_left(self) -> str:
        seconds = self._left.estimate() if self._left else None
        return "" if seconds is None or self._done == self._total else f"  ({duration(seconds)} left)"


def _ends(ratio: Estimate, rounds: int) -> str:
    return f" [{ratio.low:.2f}, {ratio.high:.2f}]" if rounds >= MIN_ROUNDS else f" ({rounds} rounds)"


def duration(seconds: float) -> str:
    """Return a duration for people: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def result_text(record: Record) -> str:
    """Return the result of a record in a few words, or what went wrong."""
    reason = f", {record.message}" if record.status in ("implausible", "disturbed") else ""
    if record.performance is not None:
        ratio = speedup_over(record.performance, "unmerged") if "unmerged" in record.performance.arms else None
        text = "" if ratio is None else f": {ratio.value:.2f}x{_ends(ratio, record.performance.rounds)} of unmerged"
        if record.performance.left_out:
            names, reasons = ", ".join(record.performance.left_out), dict.fromkeys(record.performance.left_out.values())
            text += f", left out: {names} ({'; '.join(reasons)})"
        noise = f", noise {record.performance.noise.value:.0%}" if record.status == "noisy" else ""
        return text + noise + reason
    if record.quality is not None:
        part = record.quality
        name, value, (low, high) = "mAP", part.mAP, part.mAP_interval
        if part.accuracy is not None and part.accuracy_interval is not None:
            name, value, (low, high) = "accuracy", part.accuracy, part.accuracy_interval
        return f": {name} {value:.4f} [{low:.4f}, {high:.4f}]{reason}"
    return f": {record.message}"
