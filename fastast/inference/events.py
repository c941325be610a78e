"""Turn the scores of windows into events: which label was heard from when to when.

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
"""Seconds by which two adjacent windows may seem apart because of rounding."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A label over a period of time."""

    start: float
    """Start, in seconds from the beginning of the file."""
    end: float
    """End, in seconds from the beginning of the file."""
    label: str
    """Name of the class."""
    score: float
    """Highest score among its windows, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """Rule for when a window is an event, and when the events of neighbouring windows are merged into one."""

    threshold: float = 0.5
    """Minimum score of a label in a window."""
    merge: bool = True
    """Whether a label's events in windows that overlap or touch become one; otherwise each window is its own event."""
    gap: float = 0.0
    """Longest gap, in seconds, across which two events of a label are joined."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0 <= self.threshold <= 1):
            raise ValueError(f"events: threshold is {self.threshold!r}; it must be a score from 0 to 1")
        if not (math.isfinite(self.gap) and self.gap >= 0):
            raise ValueError(f"events: gap is {self.gap!r}; it must be at least 0 seconds")
        if self.gap and not self.merge:
            raise ValueError("events: gap only applies if events are merged; give it or turn merging off, not both")


class EventCollector:
    """Collects the events of one file from its windows, in order."""

    def __init__(self, rule: EventRule, labels: Sequence[str]) -> None:
        self._rule, self._labels = rule, labels
        self._events: list[Event] = []
        self._last: dict[int, int] = {}
        """Index of each class's last event."""

    def add(self, start: float, end: float, scores: NDArray[np.floating]) -> None:
        """Add the next window, from `start` to `end` seconds, with its scores (c,)."""
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
        """Return the events ordered by their start; of those that start together, the highest score comes first."""
        return tuple(sorted(self._events, key=lambda event: (event.start, -event.score)))
