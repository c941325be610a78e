"""Position embeddings for another patch grid: AST's own rule for another length (Gong et al. 2021, section 2.2), and
what it leaves open for trained weights, another stride.

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
    """Fit position embeddings to another geometry: to its strides first, then to its length.

    position: (1, p + f' t', d) of `old`. Patches of another stride lie between those of before on the same spectrogram,
    and get what is there, linearly; AST's rule would give them the middle of the positions, as of a shorter clip.
    Returns (1, p + new f' t', d). Raises ValueError where `position` does not fit `old`.
    """
    strided = replace(old, fstride=new.fstride, tstride=new.tstride)  # of the same input
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
    """Fit position embeddings to a new grid: cut the centre where it is shorter, interpolate where longer.

    position: (1, p + f' t', d). Time first, then frequency; bilinear, corners not aligned, no antialiasing
    (timm's own rule is bicubic and antialiased, and gives other numbers). Returns (1, p + new f' t', d); the
    same tensor where the grids agree. Raises ValueError where `position` does not fit `old_grid`.
    """
    _check(position, old_grid, num_prefix_tokens)
    if old_grid == new_grid:
        return position
    prefix, grid = _as_grid(position, old_grid, num_prefix_tokens)
    grid = _fit(grid, axis=3, length=new_grid[1])
    grid = _fit(grid, axis=2, length=new_grid[0])
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)


def _fit(grid: Tensor, *, axis: int, length: int) -> Tensor:
    """Cut the centre of one axis of (1, d, f', t') to `length`, or stretch it bilinearly."""
    old = grid.shape[axis]
    if length <= old:
        return grid.narrow(axis, old // 2 - length // 2, length)
    size = [length if i == axis else grid.shape[i] for i in (2, 3)]
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)


def _between(grid: Tensor, *, axis: int, length: int, step: tuple[int, int]) -> Tensor:
    """Read one axis of (1, d, f', t') at `length` places, a new step apart in units of the old one, linearly.

    A patch that begins behind the last one of before gets that one's.
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
    """Return the prefix tokens' positions (1, p, d), and those of patches (1, d, f', t')."""
    prefix, patches = position.split([num_prefix_tokens, grid[0] * grid[1]], dim=1)
    return prefix, patches.transpose(1, 2).unflatten(2, grid)


def _check(position: Tensor, grid: tuple[int, int], num_prefix_tokens: int) -> None:
    if position.shape[1] != num_prefix_tokens + grid[0] * grid[1]:
        raise ValueError(
            f"positions: {position.shape[1]} embeddings do not fit {num_prefix_tokens} prefix tokens and a grid of "
            f"{grid[0]} x {grid[1]} patches"
        )
