"""Split tokens into the sets A, whose tokens merge, and B, which they merge into.

Shapes: `b` batch, `n` tokens, `f` unprotected tokens, `a` and `c` tokens of A and B, one more in one of them where f is
odd.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fastast.reduction.tokens import BlockTokens

Partition = Literal["alternating", "sequential", "random", "time", "frequency"]
"""`alternating`: even and odd positions (ToMe). `sequential`: the first and the second half. `random`: halves that seed
and block determine. `time` and `frequency`: every second token along that axis of the patch grid, so that a token's
neighbours on it are in the other set, whatever the order of tokens has become."""


def part(tokens: BlockTokens, partition: Partition) -> tuple[Tensor, Tensor]:
    """Return the positions of A, (b, a), and of B, (b, c), in ascending order."""
    first, free = tokens.num_protected, tokens.num_tokens - tokens.num_protected
    positions = torch.arange(free, device=tokens.device)
    if partition == "alternating":
        even, odd = positions[first % 2 :: 2], positions[1 - first % 2 :: 2]  # counting the protected
        return (even + first).expand(tokens.batch, -1), (odd + first).expand(tokens.batch, -1)
    if partition == "sequential":
        line = positions.expand(tokens.batch, -1)  # (b, f)
    elif partition == "random":
        line = tokens.draw()[first:].argsort().expand(tokens.batch, -1)
    else:
        lane, along = tokens.places[:, first:].long().unbind(-1)  # frequency and time, (b, f) each
        if partition == "frequency":
            lane, along = along, lane
        key = lane * (max(tokens.shape.grid) + 1) + along
        line = (key * free + positions).argsort(dim=1)  # (b, f), ties by position
    if partition in ("sequential", "random"):
        half = (free + 1) // 2
        a, c = line[:, :half], line[:, half:]
    else:
        a, c = line[:, ::2], line[:, 1::2]
    return a.sort(dim=1).values + first, c.sort(dim=1).values + first
