"""Blocks of sound between the thread that they come in on and the one that hears them, and when each came.

Shapes: `s` samples of a block, `k` channels.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from queue import Queue

import numpy as np
from numpy.typing import NDArray

_Block = NDArray[np.float32]
"""(s, k)."""


class Feed:
    """Blocks in the order in which they come; one thread puts them in, one takes them out."""

    def __init__(self, rate: int, *, limit: int = 0) -> None:
        """`rate`: samples per second. `limit`: blocks that wait at most, beyond which `put` waits; 0: any number."""
        self._rate = rate
        self._queue: Queue[_Block | Exception | None] = Queue(limit)
        self._came: deque[tuple[int, float]] = deque()  # samples until the end of a block, and when it came
        self._put = self._taken = 0

    @classmethod
    def of(cls, blocks: Iterator[_Block], rate: int, *, limit: int) -> Feed:
        """Read blocks on a thread of their own, so that each is known to have come when it did."""
        feed = cls(rate, limit=limit)

        def read() -> None:
            try:
                for block in blocks:
                    feed.put(block)
            except Exception as error:
                feed.end(error)
            else:
                feed.end()

        threading.Thread(target=read, daemon=True).start()
        return feed

    def put(self, block: _Block) -> None:
        """Add a block (s, k), which came just now."""
        self._put += len(block)
        self._came.append((self._put, time.perf_counter()))
        self._queue.put(block)

    def end(self, error: Exception | None = None) -> None:
        """Say that nothing more will come, or why."""
        self._queue.put(error)

    def __iter__(self) -> Iterator[_Block]:
        """Yield the blocks, waiting for each; raises what the other thread ended with."""
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            self._taken += len(item)
            yield item

    @property
    def waiting(self) -> float:
        """Seconds of sound that came and that nobody took out yet."""
        return (self._put - self._taken) / self._rate

    def came(self, seconds: float) -> float:
        """Return when the sound at `seconds` from the beginning came, by `time.perf_counter`.

        Ask in ascending order: what lies before is forgotten.
        """
        while len(self._came) > 1 and self._came[0][0] < seconds * self._rate - 0.5:
            self._came.popleft()
        return self._came[0][1]
