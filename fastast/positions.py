"""Position embeddings for another patch grid, by AST's own rule (Gong et al. 2021, section 2.2).

Shapes: `p` prefix tokens, `f'` and `t'` patches along frequency and time, `d` width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def adapt_position_embedding(
    position: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], *, num_prefix_tokens: int = 2
) -> Tensor:
    """Fit position embeddings to a new grid: cut the centre where it is shorter, interpolate where longer.

    position: (1, p + f' t', d). Time first, then frequency; bilinear, corners not aligned, no antialiasing
    (timm's own rule is bicubic and antialiased, and gives other numbers). Returns (1, p + new f' t', d); the
    same tensor where the grids agree. Raises ValueError where `position` does not fit `old_grid`.
    """
    if position.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError(
            f"positions: {position.shape[1]} embeddings do not fit {num_prefix_tokens} prefix tokens and a grid of "
            f"{old_grid[0]} x {old_grid[1]} patches"
        )
    if old_grid == new_grid:
        return position
    prefix, grid = position.split([num_prefix_tokens, old_grid[0] * old_grid[1]], dim=1)
    grid = grid.transpose(1, 2).unflatten(2, old_grid)  # (1, d, f', t')
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
