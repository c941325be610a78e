"""What every data set looks like to training and evaluation, and the batches that are made of it.

Shapes: `b` batch, `s` samples of a clip, `c` classes.

A clip is a pure function of its index and the epoch, so that any batch of any step can be made again: by another
process, after a kill, or on another machine.
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
"""Samples (25 ms at 16 kHz) of one frame of the filterbank: a shorter clip has no feature."""
MAX_CORRUPT_IN_A_ROW = 100
"""Corrupt clips one after another before training gives up: then it is not a clip that is broken but the set."""


class DataError(ValueError):
    """A data set that cannot be used; the message names the file, the value and what to do."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A file or folder of a data set that is not there."""


class SplitNotFoundError(DataNotFoundError):
    """A split that a data set does not have, or of which not one clip is there."""

    def __init__(self, message: str, *, listed: bool = False) -> None:
        super().__init__(message)
        self.listed = listed
        """Whether its tables list clips for it: then the set is not whole."""


class DataWarning(UserWarning):
    """A data set that can be used, but that is not all that it seems to be."""


class TrainingSet(Protocol):
    """One split of a data set."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""

    @property
    def task(self) -> Task:
        """How the set is scored."""

    def __len__(self) -> int:
        """Clips of an epoch."""

    def id(self, index: int) -> str:
        """What the clip is called wherever the data lies: two runs on the same ids were tested on the same clips."""

    def name(self, index: int) -> str:
        """What a person here calls the clip, in messages: its file, or its id."""

    def fingerprint(self) -> str:
        """Hash of what the audio hangs on, without reading it: other files or another mixer have another one."""

    def clip(self, index: int, epoch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Samples (s,) at 16 kHz, or the filterbank (f, m) of a cache of those, unpadded and not normalised; and labels
        (c,). Raises AudioError for a clip that cannot be used."""

    def labels(self, index: int, epoch: int) -> NDArray[np.float32]:
        """The labels (c,) alone, without reading audio."""

    def prepare(self) -> None:
        """Do now what all processes that read clips can share."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one step, padded with zeros to one length."""

    waveforms: Tensor
    """(b, s) float32 in [-1, 1]; empty where the set holds filterbanks."""
    lengths: Tensor
    """(b,) valid samples of every clip; valid frames, where the set holds filterbanks."""
    labels: Tensor
    """(b, c) in [0, 1]."""
    indices: Tensor
    """(b,) position of every clip in its set."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Name and fault of every corrupt clip that was skipped on the way."""
    features: Tensor | None = None
    """(b, f, m) filterbanks, padded with zeros, where the set holds those; not normalised."""
    seconds: float = 0.0
    """What reading the clips took, whichever processes did."""

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
    """A clip as a worker hands it over."""

    index: int
    waveform: NDArray[np.float32] | None
    """(s,) samples or (f, m) filterbank, None where the clip is corrupt and nothing stands in for it."""
    labels: NDArray[np.float32] | None
    """(c,)"""
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    """What reading it took."""


def read_clip(data: TrainingSet, index: int, epoch: int) -> Item:
    """Read one clip; a corrupt one comes back without samples, with its name and fault."""
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
    """Read one clip for training; where it is corrupt the next sound one takes its place, so that batches keep
    their size (and every process of a parallel run its number of steps).

    Raises DataError where many are corrupt in a row.
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
    """Make a batch of those items that have samples; it may be empty."""
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
    """Return how the files of a set are read, for records: channels, resampler, decoder. Mixtures have no files."""
    return dict(getattr(data, "reading", {}))


def all_ids(data: TrainingSet) -> tuple[str, ...]:
    """Return the ids of a set, in its order."""
    return tuple(data.id(index) for index in range(len(data)))


def one_hot(columns: Sequence[int], num_classes: int) -> NDArray[np.float32]:
    """Return labels (c,) that are 1 at the given columns."""
    labels = np.zeros(num_classes, np.float32)
    labels[list(columns)] = 1
    return labels
