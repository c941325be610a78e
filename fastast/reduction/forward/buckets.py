"""Buckets: clips of a batch that have come to differ in length run on separately, so that padding costs little time.

Shapes: `b` clips, `n` slots, `d` width.

With a threshold every clip keeps its own number of tokens, and a batch has as many slots as its longest clip needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

WORTH = 0.05
"""Share of a batch's slots that a cut must save, because each part launches its own operations in every later block."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Some clips of a batch."""

    clips: Tensor
    """Indices of the clips in the batch, int64."""
    slots: int
    """Number of tokens of the longest clip; every later slot is empty."""

    def of(self, x: Tensor, dim: int = 1) -> Tensor:
        """Return these clips of a batch (b, ..., n, ...), with only the slots that they need along dimension `dim`."""
        return x[self.clips].narrow(dim, 0, self.slots)


def buckets(size: Tensor) -> list[Bucket]:
    """Sort the clips of a batch into buckets, only one where cutting saves too little.

    size: (b, n), 0 for an empty slot. An empty batch has no buckets. Waits for the device, because where to cut depends
    on the clips.
    """
    if len(size) == 0:
        return []
    lengths, order = (size > 0).sum(dim=1).sort()
    return [Bucket(clips=order[first:last], slots=slots) for first, last, slots in _cut(lengths.tolist(), 0)]


def joined(parts: Sequence[Tensor], found: Sequence[Bucket]) -> Tensor:
    """Join the outputs of buckets, (b', n', ...) each, in the batch's order, with zeros after the shorter ones."""
    slots = max(part.shape[1] for part in parts)
    fill = (0, 0) * (parts[0].ndim - 2)
    whole = torch.cat([pad(part, (*fill, 0, slots - part.shape[1])) for part in parts])
    return whole[torch.cat([bucket.clips for bucket in found]).argsort()]


def _cut(lengths: list[int], first: int) -> list[tuple[int, int, int]]:
    """Cut ascending lengths where it saves most, recursively; return first, last + 1 and longest of each part."""
    count, longest = len(lengths), lengths[-1]
    costs = [i * lengths[i - 1] + (count - i) * longest for i in range(1, count)]
    if not costs or min(costs) > (1 - WORTH) * count * longest:
        return [(first, first + count, longest)]
    place = costs.index(min(costs)) + 1
    return [*_cut(lengths[:place], first), *_cut(lengths[place:], first + place)]
