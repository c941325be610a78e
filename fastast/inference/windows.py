"""Cut sound into windows of one length, in memory that does not grow with the length of the sound.

Shapes: `s` samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.audio import AudioError, AudioReader
from fastast.data.training_set import MIN_SAMPLES

SAMPLE_RATE = 16_000
"""Sample rate of all windows, in Hz."""
IN_MEMORY = 10 * 60 * SAMPLE_RATE
"""Number of samples (ten minutes, 38 MB) up to which a file is decoded once and kept; a longer one is decoded twice."""
LEAST_HOP = 160
"""Smallest hop between two windows, in samples (10 ms): one frame of the filterbank."""


class Windows:
    """The windows of a file, spread evenly over its length, so that they cover all of it and none is padded.

    A file shorter than a window is a single window of its own length.
    """

    def __init__(self, path: Path, samples: int, channels: str = "average") -> None:
        """Decode the file and count its samples; `samples`: length of a window, s; `channels` as for `load_audio`.

        Raises AudioError if the file cannot be read to its end.
        """
        self.path, self.channels = path, channels
        self._kept, self.total = _decode(path, channels)
        """The file's samples at 16 kHz if they are kept in memory, and their number."""
        self.samples = min(samples, self.total)
        """Length of a window in samples."""
        spread = np.linspace(0, self.total - self.samples, -(-self.total // samples))
        self.starts = [int(start) for start in spread.round()]
        """Index of each window's first sample."""

    @property
    def seconds(self) -> float:
        """Length of the file in seconds."""
        return self.total / SAMPLE_RATE

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the windows in order, (s,) each."""
        if self._kept is not None:
            yield from (self._kept[start : start + self.samples] for start in self.starts)
            return
        held, at = np.empty(0, np.float32), 0  # `held` starts at sample `at` of the file
        wanted = iter(self.starts)
        start = next(wanted)
        for block in AudioReader(self.path, sample_rate=SAMPLE_RATE, channels=self.channels):
            held = np.concatenate([held, block])
            while len(held) >= start + self.samples - at:
                yield held[start - at : start - at + self.samples].copy()
                if (after := next(wanted, None)) is None:
                    return
                start = after
            passed = min(max(0, start - at), len(held))
            held, at = held[passed:], at + passed
        raise AudioError(f"{self.path}: the file changed while it was read")


class SlidingWindows:
    """The windows of a file or stream, read once: one every `hop` samples, and a last one that ends with the sound.

    Sound shorter than a window is a single window of its own length.
    """

    def __init__(self, reader: AudioReader, samples: int, hop: int) -> None:
        """`samples`: the length of a window, s; `hop`: at most `samples`."""
        self.reader, self.samples, self.hop = reader, samples, hop
        self.total = 0
        """Number of samples at 16 kHz read so far."""

    @property
    def seconds(self) -> float:
        """Length of the sound read so far, in seconds."""
        return self.total / SAMPLE_RATE

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the index of each window's first sample, and the window (s,).

        Raises AudioError if the sound cannot be read to its end, which may only show after the last window.
        """
        self.total = 0
        for start, window in slide(self._counted(), self.samples, self.hop):
            check_length(self.reader.name, len(window))
            yield start, window
        self.reader.check_heard(self.total)
        self.reader.warn_of_silence()

    def _counted(self) -> Iterator[NDArray[np.float32]]:
        for block in self.reader:
            self.total += len(block)
            yield block


def slide(blocks: Iterable[NDArray[np.float32]], samples: int, hop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the windows (s,) of a stream of blocks, each with the index of its first sample: 0, `hop`, 2 `hop`, ...

    The last one ends with the stream, and overlaps its predecessor more than the others if necessary. Memory is bounded
    by a window and a block.
    """
    held, at, start = np.empty(0, np.float32), 0, 0  # `held` starts at sample `at`, the next window at `start`
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= start - at + samples:
            yield start, held[start - at : start - at + samples].copy()
            start += hop
        passed = max(0, len(held) - samples)  # keeps the last window, which may start earlier than `start`
        held, at = held[passed:], at + passed
    total = at + len(held)
    if total > (start - hop + samples if start else 0):
        first = max(0, total - samples)
        yield first, held[first - at :]


def trail(blocks: Iterable[NDArray[np.float32]], samples: int, hop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the latest window, (s,) with s at most `samples`, after every `hop` further samples, and at the end.

    Before it comes the number of samples up to its end. The first windows are shorter than the others, so that nobody
    has to wait for a whole one. Memory is bounded by a window, a hop and a block.
    """
    held, total, due = np.empty(0, np.float32), 0, hop
    for block in blocks:
        held = np.concatenate([held, block])
        total += len(block)
        while due <= total:
            end = len(held) - (total - due)
            yield due, held[max(0, end - samples) : end].copy()
            due += hop
        held = held[max(0, len(held) - (total - due + hop + samples)) :]
    if total > due - hop:
        yield total, held[-samples:]


def hop_samples(hop: float, samples: int) -> int:
    """Return a hop of `hop` seconds in samples. Raises ValueError if it is below 10 ms or leaves out sound."""
    if not LEAST_HOP <= hop * SAMPLE_RATE <= samples:
        raise ValueError(
            f"hop is {hop:g} s; allowed: {LEAST_HOP / SAMPLE_RATE:g} to {samples / SAMPLE_RATE:g} s, the length of a "
            "window, beyond which sound would be left out"
        )
    return round(hop * SAMPLE_RATE)


def check_length(name: str, samples: int) -> None:
    """Raise AudioError if the sound is too short for a single frame."""
    if samples < MIN_SAMPLES:
        raise AudioError(f"{name}: {samples} samples at 16 kHz, less than one frame ({MIN_SAMPLES}); leave it out")


def _decode(path: Path, channels: str) -> tuple[NDArray[np.float32] | None, int]:
    """Return the samples of a file and their number; None and the number if the file is longer than `IN_MEMORY`."""
    reader = AudioReader(path, sample_rate=SAMPLE_RATE, channels=channels)
    blocks: list[NDArray[np.float32]] = []
    total = 0
    for block in reader:
        total += len(block)
        if total <= IN_MEMORY:
            blocks.append(block)
        else:
            blocks.clear()
    reader.check_heard(total)
    reader.warn_of_silence()
    check_length(str(path), total)
    return (np.concatenate(blocks) if total <= IN_MEMORY else None), total
