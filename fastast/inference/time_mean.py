"""The mean over time of the values of windows that may overlap: every moment of the sound counts once.

Shapes: `c` values of a window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True, eq=False)
class _Open:
    """A window that later ones may overlap."""

    end: float
    """Its end, in seconds."""
    row: NDArray[np.floating]
    """(c,) its values."""
    weight: float = 0.0
    """Its share of the time so far, in seconds."""


class TimeMean:
    """Mean of windows over time, in order: each moment is the mean of the windows that cover it, weighted alike.

    A last window that is moved back to end with the sound thus counts fully for what is new in it, and half for the
    rest. Memory is bounded by the windows that overlap.
    """

    def __init__(self) -> None:
        self._open: deque[_Open] = deque()
        self._at = 0.0
        """Time in seconds up to which all weights are known."""
        self._sum: NDArray[np.float64] | float = 0.0
        self._weight = 0.0

    def add(self, start: float, end: float, row: NDArray[np.floating]) -> None:
        """Add the next window, from `start` to `end` seconds, with its values (c,)."""
        self._go_on(start)
        self._open.append(_Open(end=end, row=row))

    def mean(self) -> NDArray[np.float64]:
        """Return the mean (c,) after the last window."""
        if self._open:
            self._go_on(self._open[-1].end)
            self._close(self._at)
        return np.asarray(self._sum / self._weight)

    def _go_on(self, until: float) -> None:
        """Share the time up to `until` among the windows that cover it."""
        while self._open and self._at < until:
            border = min(until, self._open[0].end)
            for window in self._open:
                window.weight += (border - self._at) / len(self._open)
            self._at = border
            self._close(border)
        self._at = until

    def _close(self, until: float) -> None:
        while self._open and self._open[0].end <= until:
            window = self._open.popleft()
            self._sum = self._sum + window.weight * window.row.astype(np.float64)
            self._weight += window.weight
