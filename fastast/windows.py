"""A sound file as windows of one length, in memory that does not grow with the file.

Shapes: `s` samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioError, AudioReader
from fastast.data.training_set import MIN_SAMPLES

SAMPLE_RATE = 16_000
IN_MEMORY = 10 * 60 * SAMPLE_RATE
"""Samples (ten minutes, 38 MB) up to which a file is decoded once and kept; a longer one is decoded twice."""


class Windows:
    """The windows of a file: evenly spread over its length, so that all of it is heard and none is padded.

    A file shorter than a window is one window, as short as it is.
    """

    def __init__(self, path: Path, samples: int) -> None:
        """Decode the file and count its samples; `samples` is the length of a window, s.

        Raises AudioError where the file cannot be read to its end.
        """
        self.path = path
        self._kept, self.total = _decode(path)
        """Samples of the file at 16 kHz."""
        self.samples = min(samples, self.total)
        """Length of a window."""
        spread = np.linspace(0, self.total - self.samples, -(-self.total // samples))
        self.starts = [int(start) for start in spread.round()]
        """First sample of every window."""

    @property
    def seconds(self) -> float:
        """Length of the file."""
        return self.total / SAMPLE_RATE

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the windows in their order, (s,) each."""
        if self._kept is not None:
            yield from (self._kept[start : start + self.samples] for start in self.starts)
            return
        held, at = np.empty(0, np.float32), 0  # what is held begins at sample `at` of the file
        wanted = iter(self.starts)
        start = next(wanted)
        for block in AudioReader(self.path, sample_rate=SAMPLE_RATE):
            held = np.concatenate([held, block])
            while len(held) >= start + self.samples - at:
                yield held[start - at : start - at + self.samples].copy()
                if (after := next(wanted, None)) is None:
                    return
                start = after
            passed = min(max(0, start - at), len(held))
            held, at = held[passed:], at + passed
        raise AudioError(f"{self.path}: it changed while it was read")


def _decode(path: Path) -> tuple[NDArray[np.float32] | None, int]:
    """Return the samples of a file and their number; of a file longer than `IN_MEMORY` only the number."""
    reader = AudioReader(path, sample_rate=SAMPLE_RATE)
    blocks: list[NDArray[np.float32]] = []
    total = 0
    for block in reader:
        total += len(block)
        if total <= IN_MEMORY:
            blocks.append(block)
        else:
            blocks.clear()
    reader.check_heard(total)
    if total < MIN_SAMPLES:
        raise AudioError(f"{path}: {total} samples at 16 kHz, less than one frame ({MIN_SAMPLES}); leave it out")
    return (np.concatenate(blocks) if total <= IN_MEMORY else None), total
