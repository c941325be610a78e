"""Queue for blocks of sound, from the thread that receives them to the one that processes them, with arrival times.

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
"""A block of sound, (s, k)."""


class Feed:
    """Blocks in order of arrival; one thread puts them in, another takes them out."""

    def __init__(self, rate: int, *, limit: int = 0) -> None:
        """`rate`: samples per second. `limit`: most blocks in the queue, beyond which `put` waits; 0: unlimited."""
        self._rate = rate
        self._queue: Queue[_Block | Exception | None] = Queue(limit)
        self._came: deque[tuple[int, float]] = deque()  # samples up to a block's end, and when it came
        self._put = self._taken = 0

    @classmethod
    def of(cls, blocks: Iterator[_Block], rate: int, *, limit: int) -> Feed:
        """Read blocks in a separate thread, so that each arrival is noted at the right time."""
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
        """Add a block (s, k) that has just arrived."""
        self._put += len(block)
        self._came.append((self._put, time.perf_counter()))
        self._queue.put(block)

    def end(self, error: Exception | None = None) -> None:
        """End the feed: no more blocks will come, because of `error` if one is given."""
        self._queue.put(error)

    def __iter__(self) -> Iterator[_Block]:
        """Yield the blocks, waiting for each; raise the error that the other thread ended with, if any."""
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
        """Seconds of sound that have arrived but have not been taken out yet."""
        return (self._put - self._taken) / self._rate

    def came(self, seconds: float) -> float:
        """Return when the sound at `seconds` from the beginning arrived, by `time.perf_counter`.

        Call it with ascending times: earlier arrivals are forgotten.
        """
        while len(self._came) > 1 and self._came[0][0] < seconds * self._rate - 0.5:
            self._came.popleft()
        return self._came[0][1]
