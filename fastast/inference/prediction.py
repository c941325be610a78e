"""What a model heard in a file: scores, their mean over time, and events.

Shapes: `c` classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.inference.events import Event, EventCollector, EventRule
from fastast.inference.file_names import utf8_name
from fastast.inference.time_mean import TimeMean
from fastast.scores import Activation


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The scores of one file."""

    path: Path
    """The file."""
    seconds: float
    """Length of the file in seconds."""
    num_windows: int
    """Number of windows that were scored; the scores are their mean over time."""
    labels: tuple[str, ...]
    """Names of the classes."""
    scores: NDArray[np.float32]
    """(c,) in [0, 1], the mean over time (`TimeMean`)."""
    activation: Activation
    """What turned logits into scores: `sigmoid` (whether each class is present) or `softmax` (which class it is)."""
    events: tuple[Event, ...] = ()
    """What was heard from when to when, ordered by start, if events were asked for."""

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` best labels with their scores, best first."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(self.labels[i], float(self.scores[i])) for i in order]

    def as_dict(self, count: int) -> dict[str, object]:
        """Return what `fastast predict --json` prints."""
        labels = [{"label": label, "score": round(score, 6)} for label, score in self.top(count)]
        return {
            "file": utf8_name(self.path),
            "seconds": round(self.seconds, 3),
            "windows": self.num_windows,
            "activation": self.activation,
            "labels": labels,
        }


class ScoreCollector:
    """Collects the scores of one file's windows: their mean over time, and events if these are asked for."""

    def __init__(
        self, path: Path, labels: tuple[str, ...], activation: Activation, rule: EventRule | None = None
    ) -> None:
        self._path, self._labels, self._activation = path, labels, activation
        self._mean, self._windows = TimeMean(), 0
        self._events = None if rule is None else EventCollector(rule, labels)

    def add(self, start: float, end: float, scores: NDArray[np.floating]) -> None:
        """Add the next window, from `start` to `end` seconds, with its scores (c,)."""
        self._mean.add(start, end, scores)
        self._windows += 1
        if self._events is not None:
            self._events.add(start, end, scores)

    def result(self, seconds: float) -> Prediction:
        """Return the scores of the file, whose length is `seconds`."""
        return Prediction(
            path=self._path,
            seconds=seconds,
            num_windows=self._windows,
            labels=self._labels,
            scores=self._mean.mean().astype(np.float32),
            activation=self._activation,
            events=() if self._events is None else self._events.events(),
        )
