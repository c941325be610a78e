"""Define what training and evaluation require of a data set, and make batches of its clips.

Shapes: `b` batch, `s` samples of a clip, `f` frames, `m` mel bins, `c` classes.

A clip is a pure function of its index and the epoch, so that any batch of any step can be remade: by another process,
after a kill, or on another machine.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastast.data.audio import AudioError
from fastast.metrics import Task

MIN_SAMPLES = 400
"""Samples in one frame of the filterbank (25 ms at 16 kHz); a shorter clip has no features."""
MAX_CORRUPT_IN_A_ROW = 100
"""Successive corrupt clips at which training gives up: then the whole set is broken, not just a clip."""


class DataError(ValueError):
    """A data set that cannot be used; the message names the file, the value and what to do."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A file or folder of a data set that does not exist."""


class SplitNotFoundError(DataNotFoundError):
    """A split that a data set does not have, or of which no clip exists."""

    def __init__(self, message: str, *, listed: bool = False) -> None:
        super().__init__(message)
        self.listed = listed
        """Whether the tables list clips for the split, so that the set is incomplete."""


class DataWarning(UserWarning):
    """A data set that can be used, but is not quite what it seems."""


class TrainingSet(Protocol):
    """One split of a data set."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the model's outputs."""

    @property
    def task(self) -> Task:
        """Task, which determines how the set is scored."""

    def __len__(self) -> int:
        """Return the number of clips in an epoch."""

    def id(self, index: int) -> str:
        """Return the clip's id, wherever the data is stored: runs with the same ids were tested on the same clips."""

    def name(self, index: int) -> str:
        """Return the clip's name for messages: its file, or its id."""

    def fingerprint(self) -> str:
        """Return a hash of what the audio depends on, without reading it: it changes with the files or the mixer."""

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a clip and its labels (c,): samples (s,) at 16 kHz or, from a cache of filterbanks, (f, m), unpadded
        and not normalised. Raises AudioError for a clip that cannot be used."""

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """Return the labels (c,) alone, without reading audio."""

    def prepare(self) -> None:
        """Do in advance the work that all processes that read clips can share."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one step, padded with zeros to one length."""

    waveforms: Tensor
    """Samples, (b, s) float32 in [-1, 1]; empty where the set holds filterbanks."""
    lengths: Tensor
    """Number of valid samples of every clip, (b,), or of valid frames where the set holds filterbanks."""
    labels: Tensor
    """Labels, (b, c) in [0, 1]."""
    indices: Tensor
    """Position of every clip in its set, (b,)."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Name and error of every corrupt clip that was skipped."""
    features: Tensor | None = None
    """Filterbanks, (b, f, m), padded with zeros and not normalised, where the set holds those."""
    seconds: float = 0.0
    """Time spent reading the clips, in seconds, summed over clips whichever processes read them."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(
            waveforms=self.waveforms.to(device, non_blocking=True),
            lengths=self.lengths.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            indices=self.indices.to(device, non_blocking=True),
            skipped=self.skipped,
            features=None if self.features is None else self.features.to(device, non_blocking=True),
            seconds=self.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class Item:
    """A clip as a worker returns it."""

    index: int
    waveform: NDArray[np.float32] | None
    """Samples (s,) or filterbank (f, m); None where the clip is corrupt and not replaced by another."""
    labels: NDArray[np.float32] | None
    """Labels, (c,); None likewise."""
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    """Time spent reading the clip, in seconds."""


def read_clip(data: TrainingSet, index: int, epoch: int) -> Item:
    """Read one clip; return a corrupt one without samples, but with its name and error."""
    start = time.perf_counter()
    try:
        waveform, labels = data.clip(index, epoch)
        if waveform.ndim == 1 and len(waveform) < MIN_SAMPLES:
            raise AudioError(f"{data.name(index)}: {len(waveform)} samples, less than one frame ({MIN_SAMPLES})")
    except AudioError as error:
        fault = ((data.name(index), str(error)),)
        return Item(index=index, waveform=None, labels=None, skipped=fault, seconds=time.perf_counter() - start)
    return Item(index=index, waveform=waveform, labels=labels, seconds=time.perf_counter() - start)


def read_or_replace(data: TrainingSet, index: int, epoch: int) -> Item:
    """Read one clip for training, or the next intact one where it is corrupt, so that batches keep their size (and
    every process of a parallel run its number of steps).

    Raises DataError where 100 clips in a row, or all, are corrupt.
    """
    skipped: tuple[tuple[str, str], ...] = ()
    seconds = 0.0
    for step in range(min(len(data), MAX_CORRUPT_IN_A_ROW)):
        item = read_clip(data, (index + step) % len(data), epoch)
        skipped += item.skipped
        seconds += item.seconds
        if item.waveform is not None:
            return dataclasses.replace(item, skipped=skipped, seconds=seconds)
    raise DataError(
        f"data: {len(skipped)} clips in a row cannot be used, from {skipped[0][0]} to {skipped[-1][0]}. The first "
        f"says: {skipped[0][1]}"
    )


def collate(items: Sequence[Item], num_classes: int) -> Batch:
    """Return a batch of the items that have samples; it may be empty."""
    skipped = tuple(entry for item in items for entry in item.skipped)
    clips = [(item.index, item.waveform, item.labels) for item in items]
    whole = [(i, w, y) for i, w, y in clips if w is not None and y is not None]
    longest = max((len(w) for _, w, _ in whole), default=0)
    inner = whole[0][1].shape[1:] if whole else ()  # (m,) of filterbanks
    padded = np.zeros((len(whole), longest, *inner), np.float32)  # (b, s) or (b, f, m)
    labels = np.zeros((len(whole), num_classes), np.float32)  # (b, c)
    for row, (_, waveform, target) in enumerate(whole):
        padded[row, : len(waveform)] = waveform
        labels[row] = target
    values = torch.from_numpy(padded)
    return Batch(
        waveforms=values.new_zeros(len(whole), 0) if inner else values,
        features=values if inner else None,
        lengths=torch.tensor([len(w) for _, w, _ in whole], dtype=torch.int64),
        labels=torch.from_numpy(labels),
        indices=torch.tensor([i for i, _, _ in whole], dtype=torch.int64),
        skipped=skipped,
        seconds=sum(item.seconds for item in items),
    )


def reading_of(data: TrainingSet) -> dict[str, str]:
    """Return how the files of a set are read, for records: channels, resampler, decoder; empty for mixtures."""
    return dict(getattr(data, "reading", {}))


def all_ids(data: TrainingSet) -> tuple[str, ...]:
    """Return the ids of a set, in its order."""
    return tuple(data.id(index) for index in range(len(data)))


def one_hot(columns: Sequence[int], num_classes: int) -> NDArray[np.float32]:
    """Return labels (c,) that are 1 at the given columns."""
    labels = np.zeros(num_classes, np.float32)
    labels[list(columns)] = 1
    return labels
