"""Label a stream while it is arriving, and measure how far the labels lag behind.

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
from fastast.inference.predictor import Predictor
from fastast.inference.windows import SAMPLE_RATE, check_length, hop_samples, trail
from fastast.scores import to_scores


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The scores of the latest window."""

    start: float
    """Start of the window, in seconds from the beginning of the stream."""
    end: float
    """End of the window, in seconds from the beginning of the stream."""
    scores: NDArray[np.floating]
    """(c,) scores in [0, 1]."""
    delay: float
    """Seconds from the arrival of the window's last sample until the scores were ready."""


@dataclass(kw_only=True)
class Listening:
    """Statistics of a stream so far."""

    hop: float
    """Seconds of sound from one window to the next."""
    skipped: int = 0
    """Number of windows left out because the model had fallen behind."""
    delays: list[float] = field(default_factory=list)
    """Delay of each window, in seconds."""
    seconds: list[float] = field(default_factory=list)
    """Seconds that scoring each window took."""

    @property
    def real_time_factor(self) -> float:
        """Mean scoring time per second of sound; at 1 and above, the model cannot keep up."""
        return float(np.mean(self.seconds)) / self.hop

    def describe(self) -> str:
        """Return one line for people."""
        if not self.delays:
            return "nothing was heard"
        half, most = np.percentile(self.delays, [50, 95])
        skipped = f"; {self.skipped} windows skipped, the model fell behind: give a longer --hop" * bool(self.skipped)
        return (
            f"{len(self.delays)} windows, one every {self.hop:g} s; labels {1000 * half:.0f} ms behind the sound (95 % "
            f"within {1000 * most:.0f} ms); real-time factor {self.real_time_factor:.3f}{skipped}"
        )


def listen(predictor: Predictor, reader: LiveReader, listening: Listening, *, skip: bool = False) -> Iterator[Heard]:
    """Yield the scores of a stream's latest window every `listening.hop` seconds as it arrives, and at its end.

    The first windows are shorter than the model's input and are padded. Delays and times are added to `listening`.
    `skip`: skip windows, and count them, while a later one is already waiting: the writer of a pipe can wait, a
    microphone cannot. `reader` must give short blocks.

    Raises ValueError for a hop that is longer than a window, AudioError if the stream cannot be used.
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
