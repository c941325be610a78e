"""A stream -> labels while it comes, and how far behind they are.

Shapes: `s` samples of a window, `c` classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastast.data.training_set import MIN_SAMPLES
from fastast.inference.live import LiveReader
from fastast.inference.prediction import Predictor
from fastast.inference.windows import SAMPLE_RATE, check_length, hop_samples, trail
from fastast.scores import to_scores


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The scores of what was heard last."""

    start: float
    """Seconds from the beginning of the stream."""
    end: float
    """Seconds from the beginning of the stream."""
    scores: NDArray[np.floating]
    """(c,) in [0, 1]."""
    delay: float
    """Seconds between the time at which the last sample came and that at which the scores were there."""


@dataclass(kw_only=True)
class Listening:
    """What a stream has cost so far."""

    hop: float
    """Seconds of sound between two windows."""
    skipped: int = 0
    """Windows that were left out, as the model was behind."""
    delays: list[float] = field(default_factory=list)
    """Of every window, in seconds."""
    seconds: list[float] = field(default_factory=list)
    """What scoring every window took."""

    @property
    def real_time_factor(self) -> float:
        """Mean seconds of scoring per second of sound: at 1 and above, the model cannot keep up."""
        return float(np.mean(self.seconds)) / self.hop

    def describe(self) -> str:
        """Return one line for people."""
        if not self.delays:
            return "nothing was heard"
        half, most = np.percentile(self.delays, [50, 95])
        skipped = f"; {self.skipped} windows skipped, as the model was behind: give a longer --hop" * bool(self.skipped)
        return (
            f"{len(self.delays)} windows, one every {self.hop:g} s; labels {1000 * half:.0f} ms behind the sound (95 % "
            f"within {1000 * most:.0f} ms); real-time factor {self.real_time_factor:.3f}{skipped}"
        )


def listen(predictor: Predictor, reader: LiveReader, listening: Listening, *, skip: bool = False) -> Iterator[Heard]:
    """Yield the scores of the last window of a stream every `listening.hop` seconds while it comes, and at its end.

    The first windows are shorter than the model's input, which is padded. What that costs is noted in `listening`.
    `skip`: leave windows out, and count them, while a later one is waiting: what writes to a pipe can wait, a
    microphone cannot. Of `reader`, blocks must be short.

    Raises ValueError for a hop that is longer than a window, AudioError where the stream cannot be heard.
    """
    samples, total = predictor.window_samples, 0
    for end, window in trail(reader, samples, hop_samples(listening.hop, samples)):
        feed, total = reader.feed, end
        if len(window) < MIN_SAMPLES:
            continue
        if skip and feed is not None and feed.waiting >= listening.hop:
            listening.skipped += 1
            continue
        begun = time.perf_counter()
        logits = predictor.logits([window], predictor.frames(len(window)))  # (1, c)
        scores = to_scores(logits, predictor.activation)[0]
        done = time.perf_counter()
        delay = done - (begun if feed is None else feed.came(end / SAMPLE_RATE))
        listening.seconds.append(done - begun)
        listening.delays.append(delay)
        yield Heard(start=(end - len(window)) / SAMPLE_RATE, end=end / SAMPLE_RATE, scores=scores, delay=delay)
    reader.check_heard(total)
    reader.warn_of_silence()
    check_length(reader.name, total)
