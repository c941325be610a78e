"""Choose and load the clips of every step: the order of an epoch, and its division into steps, processes and parts.

Shapes: `k` clips of an epoch, `c` classes, `b` clips of a step over all processes and parts.

Everything here is a function of seed, epoch and step; no state is kept, so that a run can resume at any step.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fastast.data.training_set import Batch, DataError, Item, TrainingSet, collate, read_clip, read_or_replace

SAMPLERS = ("shuffle", "balanced")
Position = tuple[int, int]
"""Index of a clip, and the epoch in which it is read."""
_BLOCK = 4096
"""Number of clips whose labels are processed at a time."""


def draw_seed(seed: int, *words: object) -> int:
    """Return a seed below 2**63 for one purpose, such as ("order", epoch)."""
    digest = hashlib.sha256(" ".join(map(str, ("fastast", seed, *words))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def balanced_weights(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight of every clip, the sum over its labels of 1000 / (count of the label + 0.01).

    labels: (k, c) of 0 and 1 -> (k,). AST's class-balanced sampling (Gong et al. 2021, section 3.1; `gen_weight_file`).
    """
    weights = np.empty(len(labels), np.float64)
    of_label = 1000.0 / (labels.sum(axis=0, dtype=np.float64) + 0.01)  # (c,)
    for some in _blocks(len(labels)):  # never all labels as float64: for AudioSet they take 8 GB
        weights[some] = labels[some].astype(np.float64) @ of_label
    return weights


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The order of the clips in every epoch, cut into steps; an incomplete step at an epoch's end is dropped."""

    num_clips: int
    """Number of clips in an epoch, k."""
    batch_size: int
    """Number of clips in a step over all processes and parts, b."""
    seed: int
    """Seed for the order of the clips."""
    weights: NDArray[np.float64] | None = None
    """Weights, (k,), in proportion to which clips are drawn with replacement; None to take every clip once."""

    def __post_init__(self) -> None:
        if self.num_clips < self.batch_size:
            raise DataError(
                f"data: {self.num_clips} clips do not fill a batch of {self.batch_size}; lower batch_size or add clips"
            )
        if self.weights is not None and not self.weights.any():
            raise DataError("data: sampler 'balanced' finds no label on any clip; use sampler = \"shuffle\"")

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch."""
        return self.num_clips // self.batch_size

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of the clips in the order of an epoch, (k,)."""
        generator = torch.Generator().manual_seed(draw_seed(self.seed, "order", epoch))
        if self.weights is None:
            return torch.randperm(self.num_clips, generator=generator).numpy()
        drawn = torch.multinomial(torch.from_numpy(self.weights), self.num_clips, True, generator=generator)
        return drawn.numpy()

    def parts(
        self, first_step: int, last_step: int, *, rank: int = 0, world_size: int = 1, accumulation: int = 1
    ) -> Iterator[list[Position]]:
        """Yield what one process reads from `first_step` to before `last_step`: `accumulation` equal lists a step.

        The clips of a step are the same however many processes and parts share them.
        """
        size = self.batch_size // (world_size * accumulation)
        order, epoch_of_order = np.empty(0, np.int64), -1
        for step in range(first_step, last_step):
            epoch, within = divmod(step, self.steps_per_epoch)
            if epoch != epoch_of_order:
                order, epoch_of_order = self.order(epoch), epoch
            for part in range(accumulation):
                start = within * self.batch_size + (part * world_size + rank) * size
                yield [(int(index), epoch) for index in order[start : start + size]]


class _Reader(Dataset[Item | Exception]):
    """A data set indexed by position, for torch's loader."""

    def __init__(self, data: TrainingSet, *, replace: bool) -> None:
        self.data = data
        self.replace = replace

    def __getitem__(self, position: Position) -> Item | Exception:
        index, epoch = position
        try:
            return read_or_replace(self.data, index, epoch) if self.replace else read_clip(self.data, index, epoch)
        except (ValueError, OSError) as error:
            # Returned, not raised: torch would turn an error raised in a worker into the text of its traceback.
            if get_worker_info() is not None:
                error.add_note("".join(traceback.format_exception(error)))  # a traceback itself cannot be sent
            return error


def _collate(items: Sequence[Item | Exception], num_classes: int) -> Batch | Exception:
    """Make a batch, or return the first error among the items."""
    whole = [item for item in items if isinstance(item, Item)]
    errors = [item for item in items if isinstance(item, Exception)]
    return errors[0] if errors else collate(whole, num_classes)


class _Positions:
    """An iterable of batches of positions, for torch's loader."""

    def __init__(self, parts: Iterator[list[Position]]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[list[Position]]:
        return self.parts


def load_batches(
    data: TrainingSet, parts: Iterator[list[Position]], *, workers: int, replace: bool, pin_memory: bool = False
) -> Iterator[Batch]:
    """Yield one batch for each list of positions, in order; `workers` processes read ahead (0: this process reads).

    With `replace`, the next intact clip takes the place of a corrupt one; without, the batch is one clip smaller.
    Raises what reading a clip raises (DataError, ...), whichever process reads.
    """
    if workers:
        data.prepare()
    loader: DataLoader[Item | Exception] = DataLoader(
        _Reader(data, replace=replace),
        batch_sampler=_Positions(parts),
        num_workers=workers,
        collate_fn=partial(_collate, num_classes=len(data.classes)),
        pin_memory=pin_memory,
        worker_init_fn=_one_thread if workers else None,
        # Only fork shares what the parent has prepared.
        multiprocessing_context="fork" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def in_order(count: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[list[Position]]:
    """Yield what one of several processes evaluates, in order and in batches; together they take every clip once."""
    mine = range(rank, count, world_size)
    for start in range(0, len(mine), batch_size):
        yield [(index, 0) for index in mine[start : start + batch_size]]


def all_labels(data: TrainingSet, epoch: int = 0) -> NDArray[np.uint8]:
    """Return the labels of every clip, (k, c), as bytes of 0 or 1, as AudioSet has 2 million clips and 527 classes.

    Raises DataError for a label that is neither.
    """
    labels = np.empty((len(data), len(data.classes)), np.uint8)
    for some in _blocks(len(data)):
        rows = np.stack([data.labels(index, epoch) for index in range(some.start, some.stop)])
        labels[some] = rows
        if not np.array_equal(labels[some], rows) or labels[some].max(initial=0) > 1:
            raise DataError(f"data: a label of the clips {some.start} to {some.stop - 1} is neither 0 nor 1")
    return labels


def _blocks(count: int) -> Iterator[slice]:
    """Yield slices of at most 4,096 clips that together cover `count`."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(count, start + _BLOCK))
