"""Adapt position embeddings to another patch grid: to another length by AST's own rule (Gong et al. 2021, section 2.2),
and to another stride, which that rule does not cover for trained weights.

Shapes: `p` prefix tokens, `f'` and `t'` patches along frequency and time, `d` width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from fastast.geometry import Geometry


def positions_for(position: Tensor, old: Geometry, new: Geometry) -> Tensor:
    """Adapt position embeddings to another geometry: to its strides first, then to its length.

    position: (1, p + f' t', d) of `old`. With another stride, patches fall between the old ones on the same spectrogram
    and get embeddings interpolated linearly; AST's rule would instead give them the middle of the old embeddings, as
    for a shorter clip. Returns (1, p + new f' t', d). Raises ValueError where `position` does not fit `old`.
    """
    strided = replace(old, fstride=new.fstride, tstride=new.tstride)  # on the same input
    num_prefix_tokens = old.num_prefix_tokens
    if strided != old:
        _check(position, old.grid, num_prefix_tokens)
        prefix, grid = _as_grid(position, old.grid, num_prefix_tokens)
        grid = _between(grid, axis=2, length=strided.grid[0], step=(new.fstride, old.fstride))
        grid = _between(grid, axis=3, length=strided.grid[1], step=(new.tstride, old.tstride))
        position = torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)
    return adapt_position_embedding(position, strided.grid, new.grid, num_prefix_tokens=num_prefix_tokens)


def adapt_position_embedding(
    position: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], *, num_prefix_tokens: int = 2
) -> Tensor:
    """Adapt position embeddings to a new grid: crop to the centre where it is shorter, interpolate where it is longer.

    position: (1, p + f' t', d). Time first, then frequency; bilinear, corners not aligned, no antialiasing (timm's own
    rule is bicubic and antialiased, which gives different numbers). Returns (1, p + new f' t', d), the same tensor
    where the grids agree. Raises ValueError where `position` does not fit `old_grid`.
    """
    _check(position, old_grid, num_prefix_tokens)
    if old_grid == new_grid:
        return position
    prefix, grid = _as_grid(position, old_grid, num_prefix_tokens)
    grid = _fit(grid, axis=3, length=new_grid[1])
    grid = _fit(grid, axis=2, length=new_grid[0])
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)


def _fit(grid: Tensor, *, axis: int, length: int) -> Tensor:
    """Crop one axis of (1, d, f', t') to its centre of `length`, or stretch it bilinearly."""
    old = grid.shape[axis]
    if length <= old:
        return grid.narrow(axis, old // 2 - length // 2, length)
    size = [length if i == axis else grid.shape[i] for i in (2, 3)]
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


def _between(grid: Tensor, *, axis: int, length: int, step: tuple[int, int]) -> Tensor:
    """Interpolate one axis of (1, d, f', t') linearly at `length` places; step: distance of new and of old patches.

    A patch that begins after the last old one gets that one's embedding.
    """
    new, old = step
    last = grid.shape[axis] - 1
    places = (torch.arange(length, dtype=torch.float64, device=grid.device) * new / old).clamp_max(last)
    low = places.long()
    shape = [length if i == axis else 1 for i in range(4)]
    share = (places - low).to(grid.dtype).reshape(shape)
    below, above = grid.index_select(axis, low), grid.index_select(axis, (low + 1).clamp_max(last))
    return torch.lerp(below, above, share)


def _as_grid(position: Tensor, grid: tuple[int, int], num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """Split position embeddings into those of prefix tokens, (1, p, d), and of patches, (1, d, f', t')."""
    prefix, patches = position.split([num_prefix_tokens, grid[0] * grid[1]], dim=1)
    return prefix, patches.transpose(1, 2).unflatten(2, grid)


def _check(position: Tensor, grid: tuple[int, int], num_prefix_tokens: int) -> None:
    if position.shape[1] != num_prefix_tokens + grid[0] * grid[1]:
        raise ValueError(
            f"positions: {position.shape[1]} embeddings do not fit {num_prefix_tokens} prefix tokens and a grid of "
            f"{grid[0]} x {grid[1]} patches"
        )
