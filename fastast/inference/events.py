"""Scores of windows -> events: what was heard from when to when.

Shapes: `c` classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-6
"""Seconds by which two windows that touch may seem apart."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A label over a stretch of time."""

    start: float
    """Seconds from the beginning of the file."""
    end: float
    """Seconds from the beginning of the file."""
    label: str
    score: float
    """In [0, 1]: the highest of its windows."""


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """When a window is an event, and when those of neighbouring windows are one."""

    threshold: float = 0.5
    """Least score of a label in a window."""
    merge: bool = True
    """Make one event of those of a label in windows that overlap or touch; else every window is one of its own."""
    gap: float = 0.0
    """Longest gap, in seconds, across which two events of a label are joined."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0 <= self.threshold <= 1):
            raise ValueError(f"events: threshold is {self.threshold!r}; it must be a score, from 0 to 1")
        if not (math.isfinite(self.gap) and self.gap >= 0):
            raise ValueError(f"events: gap is {self.gap!r}; it must be at least 0 seconds")
        if self.gap and not self.merge:
            raise ValueError("events: gap says what is merged, and nothing is; leave one of the two out")


class EventCollector:
    """The events of one file, of its windows in their order."""

    def __init__(self, rule: EventRule, labels: Sequence[str]) -> None:
        self._rule, self._labels = rule, labels
        self._events: list[Event] = []
        self._last: dict[int, int] = {}
        """Place in the events of the last one of each class."""

    def add(self, start: float, end: float, scores: NDArray[np.floating]) -> None:
        """Take a window from `start` to `end` seconds with its scores (c,)."""
        for column in map(int, np.flatnonzero(scores >= self._rule.threshold)):
            score = float(scores[column])
            last = self._events[self._last[column]] if column in self._last else None
            if last is not None and self._rule.merge and start <= last.end + self._rule.gap + _ROUNDING:
                merged = dataclasses.replace(last, end=max(last.end, end), score=max(last.score, score))
                self._events[self._last[column]] = merged
            else:
                self._last[column] = len(self._events)
                self._events.append(Event(start=start, end=end, label=self._labels[column], score=score))

    def events(self) -> tuple[Event, ...]:
        """Return the events by their start, and the surest first of those that start together."""
        return tuple(sorted(self._events, key=lambda event: (event.start, -event.score)))
