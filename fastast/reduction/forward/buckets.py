"""Buckets: clips of one batch that have come to differ in length run on apart, so that padding costs little time.

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
"""Share of a batch's slots that a cut must save: each part has operations of its own to start in every later block."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Some clips of a batch."""

    clips: Tensor
    """Their places in the batch, int64."""
    slots: int
    """Tokens of the longest of them; every slot behind is empty."""

    def of(self, x: Tensor, dim: int = 1) -> Tensor:
        """Take these clips out of a batch (b, ..., n, ...), and of dimension `dim` the slots that they need."""
        return x[self.clips].narrow(dim, 0, self.slots)


def buckets(size: Tensor) -> list[Bucket]:
    """Sort the clips of a batch into buckets; one where cutting saves too little. size: (b, n), 0 for an empty slot.

    None of no clips. Waits for the device: where to cut is up to the clips.
    """
    if len(size) == 0:
        return []
    lengths, order = (size > 0).sum(dim=1).sort()
    return [Bucket(clips=order[first:last], slots=slots) for first, last, slots in _cut(lengths.tolist(), 0)]


def joined(parts: Sequence[Tensor], found: Sequence[Bucket]) -> Tensor:
    """Put what became of the buckets, (b', n', ...) each, back in the batch's order, with zeros behind the shorter."""
    slots = max(part.shape[1] for part in parts)
    fill = (0, 0) * (parts[0].ndim - 2)
    whole = torch.cat([pad(part, (*fill, 0, slots - part.shape[1])) for part in parts])
    return whole[torch.cat([bucket.clips for bucket in found]).argsort()]


def _cut(lengths: list[int], first: int) -> list[tuple[int, int, int]]:
    """Cut ascending lengths where it saves most, and its parts in turn: first and last + 1 of each, and its longest."""
    count, longest = len(lengths), lengths[-1]
    costs = [i * lengths[i - 1] + (count - i) * longest for i in range(1, count)]
    if not costs or min(costs) > (1 - WORTH) * count * longest:
        return [(first, first + count, longest)]
    place = costs.index(min(costs)) + 1
    return [*_cut(lengths[:place], first), *_cut(lengths[place:], first + place)]
