"""Measures how fast one processor reads clips: decoding with resampling, and the filterbank.

Shapes: `s` samples of a clip, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from fastast.data.training_set import DataError, TrainingSet, read_clip
from fastast.frontend.filterbank import SAMPLE_RATE, SHIFT_SECONDS, fbank

_WARM_UP = 2
"""Number of clips to read before timing, as the first ones load libraries."""


@dataclass(frozen=True, kw_only=True)
class LoadingRate:
    """Clips per second of one processor."""

    clips: int
    """Number of clips that were timed."""
    skipped: int
    """Number of selected clips that were not timed, as they cannot be used."""
    audio_seconds: float
    """Total length of the timed clips, in seconds."""
    read: float
    """Clips per second from files to samples at 16 kHz, or to filterbanks in a cache of those."""
    filterbank: float | None
    """Clips per second from samples to filterbanks; None where the set already holds filterbanks."""

    @property
    def together(self) -> float:
        """Clips per second with both steps, one after the other."""
        return self.read if self.filterbank is None else 1 / (1 / self.read + 1 / self.filterbank)


def measure_loading(data: TrainingSet, *, clips: int = 64, num_mel_bins: int = 128) -> LoadingRate:
    """Read clips spread evenly over a split, one after another on one thread, and time both steps.

    Files are read as they are: from the disk, or from the system's file cache. Raises DataError where no clip can be
    used, or `clips` is less than one.
    """
    if clips < 1:
        raise DataError(f"clips is {clips}; time at least one")
    count = min(clips, len(data))
    indices = [place * len(data) // count for place in range(count)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for index in indices[:_WARM_UP]:
            _time_clip(data, index, num_mel_bins)
        timed = [_time_clip(data, index, num_mel_bins) for index in indices]
    finally:
        torch.set_num_threads(threads)
    used = [one for one in timed if not isinstance(one, str)]
    if not used:
        raise DataError(f"data: not one clip could be read; the first says: {timed[0]}")
    audio, reading, computing = (sum(part) for part in zip(*used, strict=True))
    return LoadingRate(
        clips=len(used),
        skipped=len(timed) - len(used),
        audio_seconds=audio,
        read=len(used) / reading,
        filterbank=len(used) / computing if computing else None,
    )


def _time_clip(data: TrainingSet, index: int, num_mel_bins: int) -> tuple[float, float, float] | str:
    """Return the length of a clip and the times for reading it and for its filterbank, in seconds; or its fault."""
    start = time.perf_counter()
    item = read_clip(data, index, 0)
    seconds = time.perf_counter() - start
    if item.waveform is None:
        return item.skipped[0][1]
    if item.waveform.ndim == 2:  # (f, m)
        return len(item.waveform) * SHIFT_SECONDS, seconds, 0.0
    start = time.perf_counter()
    try:
        fbank(torch.from_numpy(item.waveform)[None], num_mel_bins=num_mel_bins)  # (1, s) -> (1, f, m)
    except ValueError as error:
        return str(error)
    return len(item.waveform) / SAMPLE_RATE, seconds, time.perf_counter() - start
