"""Cut files and pipes into windows, score the windows in batches, and collect a result for each file, in order.

Shapes: `s` samples of a window, `w` windows of a batch, `c` values of a window: scores of classes, or a vector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioReader
from fastast.inference.windows import SAMPLE_RATE, SlidingWindows, Windows
from fastast.reduction import ReductionError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SoundSource = Path | AudioReader
"""A file, or a reader of sound that may be readable only once."""
ScoreWindows = Callable[[Sequence[NDArray[np.float32]], int], NDArray[np.floating]]
"""Takes windows of one kind, (s,) each, and the kind; returns one row per window, (w, c)."""
_PATIENCE = 16
"""Maximum number of files, in batch sizes, that wait for one with a rare kind of window before that is scored alone."""


class Collector(Protocol[T_co]):
    """Collects the rows of one file's windows as they are scored, and makes a result of them."""

    def add(self, start: float, end: float, row: NDArray[np.floating], /) -> None:
        """Add the next window: its start and end in the file, in seconds, and its row (c,)."""

    def result(self, seconds: float, /) -> T_co:
        """Return the result, after the last window of a file whose length is `seconds`."""


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A file that could not be read, with the reason."""

    path: Path
    error: Exception


@dataclass(kw_only=True, eq=False)
class _File(Generic[T]):
    """A file whose windows are being scored."""

    path: Path
    collector: Collector[T]
    seconds: float = 0.0
    left: int = 0
    """Number of windows read but not scored yet."""
    read: bool = False
    """Whether all of its windows have been read."""
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or (self.read and not self.left)


@dataclass(frozen=True, kw_only=True)
class _Window(Generic[T]):
    file: _File[T]
    start: int
    """Index of its first sample."""
    samples: NDArray[np.float32]
    """(s,) its samples."""


def hear(
    sources: Iterable[SoundSource],
    collect: Callable[[Path], Collector[T]],
    score: ScoreWindows,
    *,
    samples: int,
    batch_size: int,
    hop: int | None = None,
    kind: Callable[[int], int] = lambda _: 0,
    channels: str = "average",
) -> Iterator[T | Unread]:
    """Yield the result of each file in order, or the reason why it could not be read.

    `samples`: the length of a window, s; a file shorter than that is one window. `hop`: samples from the start of one
    window to the start of the next; without it, the fewest windows that cover a file are spread evenly over it, and a
    pipe's windows follow one another without overlap. `kind`: maps a window's length to its kind; windows of one kind
    are scored together. `channels`: how several channels of a file become one, as for `load_audio`; a pipe's reader
    decides for itself.

    Batches are filled with the windows of one file after another; memory does not grow with the length of a file,
    except for what the collector keeps.
    """
    waiting: deque[_File[T]] = deque()
    batches: dict[int, list[_Window[T]]] = {}
    for source in sources:
        path = source if isinstance(source, Path) else Path(source.name)
        file = _File(path=path, collector=collect(path))
        waiting.append(file)
        for window in _windows(source, file, samples, hop, channels):
            file.left += 1
            key = kind(len(window.samples))
            batch = batches.setdefault(key, [])
            batch.append(window)
            if len(batch) == batch_size:
                _score(batches.pop(key), score, key)
                yield from _ended(waiting)
        file.read = True
        if len(waiting) > _PATIENCE * batch_size and not waiting[0].done:
            rare = next(key for key, batch in batches.items() if any(one.file is waiting[0] for one in batch))
            _score(batches.pop(rare), score, rare)
        yield from _ended(waiting)
    for key, batch in batches.items():
        _score(batch, score, key)
    yield from _ended(waiting)


def _windows(source: SoundSource, file: _File[T], samples: int, hop: int | None, channels: str) -> Iterator[_Window[T]]:
    """Yield the windows of a file; if it cannot be read, note the error and stop."""
    try:
        if hop is None and isinstance(source, Path):
            windows = Windows(source, samples, channels)
            file.seconds = windows.seconds
            for start, window in zip(windows.starts, windows, strict=True):
                yield _Window(file=file, start=start, samples=window)
            return
        reader = AudioReader(source, sample_rate=SAMPLE_RATE, channels=channels) if isinstance(source, Path) else source
        sliding = SlidingWindows(reader, samples, samples if hop is None else hop)
        for start, window in sliding:
            yield _Window(file=file, start=start, samples=window)
        file.seconds = sliding.seconds
    except (ValueError, OSError) as error:
        file.error = error


def _score(batch: Sequence[_Window[T]], score: ScoreWindows, key: int) -> None:
    """Score a batch and give each window's row to the collector of its file."""
    try:
        rows = score([window.samples for window in batch], key)  # (w, c)
    except ReductionError as error:  # the windows are so short that they have too few tokens
        for window in batch:
            window.file.error = ReductionError(f"{window.file.path}: {error}")
        return
    for window, row in zip(batch, rows, strict=True):
        start = window.start / SAMPLE_RATE
        window.file.collector.add(start, start + len(window.samples) / SAMPLE_RATE, row)
        window.file.left -= 1


def _ended(waiting: deque[_File[T]]) -> Iterator[T | Unread]:
    """Remove finished files from the front, in order, and yield their results."""
    while waiting and waiting[0].done:
        file = waiting.popleft()
        yield file.collector.result(file.seconds) if file.error is None else Unread(path=file.path, error=file.error)
