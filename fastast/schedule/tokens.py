"""Tokens per block: what is left of them where blocks can remove only so many."""

from __future__ import annotations

from collections.abc import Callable

LargestRemoval = Callable[[int, int], int]
"""Maps a number of tokens and the index of a block to the most tokens that the block can remove."""


def count_tokens(
    num_tokens: int, removals: tuple[int, ...], limit: LargestRemoval
) -> tuple[tuple[int, ...], int | None]:
    """Return how many tokens leave each block, and the index of the first block that is to remove more than `limit`.

    Where a block is to remove more, it is counted at its limit; None means that every removal is possible.
    """
    tokens, first_excess = [], None
    for block, r in enumerate(removals):
        most = limit(num_tokens, block)
        if r > most and first_excess is None:
            first_excess = block
        num_tokens -= min(r, most)
        tokens.append(num_tokens)
    return tuple(tokens), first_excess
