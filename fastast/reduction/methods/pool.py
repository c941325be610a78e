"""Uniform pooling: each run of neighbours on the patch grid becomes one token, whatever it holds.

The second control, with random drop: elsewhere, audio tokens are compressed by average pooling (arXiv 2511.20973). A
line visits every token, neighbour after neighbour on the grid, and is cut into runs whose lengths differ by at most
one. Any `r` is possible; removing half of the tokens along time pools neighbouring pairs. Weighted by size, a token is
the average of its patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fastast.reduction.needs import need_protected_prefix
from fastast.reduction.plan import MergePlan
from fastast.reduction.registry import BlockShape, all_but_one, reduction_method
from fastast.reduction.tokens import BlockTokens


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The path of the line."""

    axis: Literal["time", "frequency", "both"] = "time"
    """Axis to pool over: time (row by row, back and forth), frequency (column by column), or both (along time in strips
    two rows high, so that four successive tokens form a square)."""


def _limit(shape: BlockShape, options: PoolOptions) -> int:
    need_protected_prefix(shape, "pool")
    return all_but_one(shape, options)


@reduction_method("pool", label="uniform pooling", options=PoolOptions, limit=_limit, at_input=True)
def pool(tokens: BlockTokens, r: int, options: PoolOptions) -> MergePlan:
    """Average runs of neighbouring tokens, all of about the same length, so that `r` fewer are left."""
    first, n = tokens.num_protected, tokens.num_tokens
    free = n - first
    line = order_on_line(tokens.places[:, first:], tokens.shape.grid, options.axis)  # (b, free) indices
    runs = torch.arange(free, device=tokens.device) * (free - r) // free + first  # (free,) slot of each place on it
    slot = torch.empty_like(line).scatter_(1, line, runs.expand_as(line))  # (b, free)
    protected = torch.arange(first, device=tokens.device).expand(tokens.batch, -1)
    return MergePlan.from_slots(torch.cat([protected, slot], dim=1), n - r, drops=False)


def order_on_line(places: Tensor, grid: tuple[int, int], axis: str) -> Tensor:
    """Return the indices of tokens at `places` (b, n, 2) in the order in which the line visits them, (b, n).

    It turns at the edges, so that successive tokens are neighbours on the grid there too.
    """
    rows, columns = grid
    frequency, time = places.long().unbind(-1)  # (b, n) each
    if axis == "time":
        key = frequency * columns + _there_and_back(time, columns, frequency)
    elif axis == "frequency":
        key = time * rows + _there_and_back(frequency, rows, time)
    else:
        strip = frequency // 2
        along = _there_and_back(time, columns, strip)
        # Down one column of the strip and up the next; a strip starts at the top again.
        key = (strip * columns + along) * 2 + _there_and_back(frequency % 2, 2, along)
    count = places.shape[1]
    return (key * count + torch.arange(count, device=places.device)).argsort(dim=1)  # ties by position


def _there_and_back(place: Tensor, length: int, lane: Tensor) -> Tensor:
    return torch.where(lane % 2 == 0, place, length - 1 - place)


METHOD = pool
