"""Checks, before anything runs, that a model has what a method needs."""

from __future__ import annotations

from fastast.reduction.options import ReductionError
from fastast.reduction.registry import BlockShape


def need_prefix_attention(shape: BlockShape, method: str) -> None:
    """Raise ReductionError where there is no prefix token whose attention ranks tokens, or one is not protected."""
    prefix = shape.encoder.num_prefix_tokens
    if prefix == 0:
        raise ReductionError(
            f"reduction {method}: it needs the attention of a class or distillation token, and this model has neither; "
            "use a method that needs none, such as shift or tome"
        )
    need_protected_prefix(shape, method)


def need_protected_prefix(shape: BlockShape, method: str) -> None:
    """Raise ReductionError where a prefix token, which has no place on the patch grid, is not protected."""
    prefix = shape.encoder.num_prefix_tokens
    if shape.num_protected < prefix:
        raise ReductionError(
            f"reduction {method}: num_protected is {shape.num_protected}; it must leave all {prefix} prefix tokens "
            f"alone: leave it out, or give at least {prefix}"
        )


def need_reach(shape: BlockShape, method: str, option: str, reach: int, axis: int) -> None:
    """Raise ReductionError where a window reaches further than the patch grid."""
    patches = shape.encoder.grid[axis]
    if reach >= patches:
        raise ReductionError(
            f"reduction {method}: {option} is {reach}; the grid has {patches} patches along {option}, so a window can "
            f"reach 0 to {patches - 1} of them"
        )


def first_block_of(share: float, depth: int) -> int:
    """Return the first block, from 0, after the given share of a model's `depth` blocks."""
    return round(share * depth)


def check_share(method: str, option: str, share: float) -> None:
    """Raise ReductionError where `share` is not from 0 to 1."""
    if not 0 <= share <= 1:
        raise ReductionError(
            f"reduction {method}: {option} is {share!r}; give a share of the blocks from 0 (all of them) to 1 (none)"
        )
