"""Mean and standard deviation of a set's filterbanks, by which a model's input is normalised.

Shapes: `s` samples of a clip, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastast.data.audio import AudioError
from fastast.data.parallel import each
from fastast.data.training_set import DataError, Item, TrainingSet, read_clip


@dataclass(frozen=True, kw_only=True)
class FbankStatistics:
    """Mean and standard deviation over all values of all frames of all clips."""

    mean: float
    std: float
    clips: int
    """Number of clips that were read."""
    frames: int
    """Number of frames of all clips."""
    skipped: tuple[str, ...]
    """Faults of the clips that could not be read."""


def fbank_statistics(
    data: TrainingSet,
    *,
    num_mel_bins: int = 128,
    num_frames: int | None = None,
    processes: int = 1,
    progress: bool = False,
    what: str = "filterbanks",
) -> FbankStatistics:
    """Return mean and standard deviation of the log-mel filterbank, over every value of every clip.

    With `num_frames`, clips are first padded with zeros or cut to that many frames, as for AST's own numbers; without
    it, every clip contributes its own frames, and long clips count for more. Raises DataError where no clip can be
    read, and for a cache of filterbanks with another number of mel bins.
    """
    work = _Sums(data, num_mel_bins, num_frames)
    found = list(each(range(len(data)), work, what=what, processes=processes, progress=progress))
    sums = np.array([part for part in found if not isinstance(part, str)], np.float64).reshape(-1, 4)
    skipped = tuple(part for part in found if isinstance(part, str))
    if not len(sums):
        raise DataError("data: not one clip could be read" + f"; the first says: {skipped[0]}" * bool(skipped))
    values, total, squares, frames = sums.sum(axis=0)
    mean = total / values
    # E[x^2] - E[x]^2 is exact enough here: the values are small, and the sums are in float64.
    return FbankStatistics(
        mean=float(mean),
        std=math.sqrt(max(0.0, squares / values - mean**2)),
        clips=len(sums),
        frames=int(frames),
        skipped=skipped,
    )


class _Sums:
    """Reads a clip and returns its number of values, their sum, their sum of squares, and its frames; or its fault."""

    def __init__(self, data: TrainingSet, num_mel_bins: int, num_frames: int | None) -> None:
        self.data, self.num_mel_bins, self.num_frames = data, num_mel_bins, num_frames

    def __call__(self, index: int) -> tuple[int, float, float, int] | str:
        item = read_clip(self.data, index, 0)
        if item.waveform is None:
            return item.skipped[0][1]
        try:
            features = self._features(item)  # (f, m)
        except AudioError as error:
            return str(error)
        values = features.double()
        return values.numel(), float(values.sum()), float(values.square().sum()), len(values)

    def _features(self, item: Item) -> Any:
        import torch

        from fastast.frontend import pad_or_cut
        from fastast.frontend.filterbank import fbank

        assert item.waveform is not None
        given = torch.from_numpy(item.waveform)
        if given.ndim == 2 and given.shape[1] != self.num_mel_bins:
            raise DataError(
                f"{self.data.name(item.index)}: a filterbank of {given.shape[1]} mel bins, but {self.num_mel_bins} "
                "are requested; use the data set itself, or a cache of --kind flac"
            )
        features = given[None] if given.ndim == 2 else fbank(given[None], num_mel_bins=self.num_mel_bins)  # (1, f, m)
        return (features if self.num_frames is None else pad_or_cut(features, self.num_frames))[0]
