"""Position embeddings on another grid, against hand computations and torch-free interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastast.geometry import Geometry
from fastast.positions import adapt_position_embedding, positions_for


def grid_positions(rows: int, columns: int) -> torch.Tensor:
    """Embeddings that are their own coordinates: (1, 2 + rows * columns, 2)."""
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    return torch.cat([torch.full((2, 2), -1), grid])[None].float()


def test_a_shorter_clip_gets_the_middle_of_the_positions() -> None:
    # AST: 10 s has 101 columns, 5 s has 50; the cut starts at 101 // 2 - 50 // 2 = 25.
    out = adapt_position_embedding(grid_positions(12, 101), (12, 101), (12, 50))
    assert out.shape == (1, 602, 2)
    assert out[0, :2].eq(-1).all()
    columns = out[0, 2:, 1].reshape(12, 50)
    assert columns[0].tolist() == list(range(25, 75))
    assert out[0, 2:, 0].reshape(12, 50)[:, 0].tolist() == list(range(12))


def test_a_longer_clip_is_interpolated_linearly_without_aligned_corners() -> None:
    out = adapt_position_embedding(grid_positions(3, 4), (3, 4), (3, 8))
    centres = (np.arange(8) + 0.5) * 4 / 8 - 0.5  # sample points on the old grid
    expected = np.interp(centres, np.arange(4), np.arange(4))
    np.testing.assert_allclose(out[0, 2:, 1].reshape(3, 8)[1].numpy(), expected, atol=1e-6)


def test_frequency_is_fitted_on_its_own() -> None:
    out = adapt_position_embedding(grid_positions(12, 10), (12, 10), (8, 10))
    assert out[0, 2:, 0].reshape(8, 10)[:, 0].tolist() == list(range(2, 10))


def test_the_same_grid_is_left_alone() -> None:
    position = grid_positions(3, 4)
    assert adapt_position_embedding(position, (3, 4), (3, 4)) is position


def test_positions_that_do_not_fit_their_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="14 embeddings do not fit 2 prefix tokens and a grid of 3 x 5"):
        adapt_position_embedding(grid_positions(3, 4), (3, 5), (3, 4))


def shape(stride: int | tuple[int, int] = 10, **fields: int) -> Geometry:
    fstride, tstride = (stride, stride) if isinstance(stride, int) else stride
    return Geometry(embed_dim=2, num_heads=1, num_classes=1, fstride=fstride, tstride=tstride, **fields)


@pytest.mark.parametrize("stride", [8, 12, 14, 16, (16, 10), (10, 13)])
@pytest.mark.parametrize("frames", [512, 1024])
def test_patches_of_another_stride_get_what_is_at_their_place(stride: int | tuple[int, int], frames: int) -> None:
    old, new = shape(num_frames=frames), shape(stride, num_frames=frames)
    out = positions_for(grid_positions(*old.grid), old, new)
    assert out.shape == (1, new.num_tokens, 2)
    assert out[0, :2].eq(-1).all()
    for axis, step in ((0, new.fstride), (1, new.tstride)):
        # Where a patch begins, in steps of before; the last position stands for what is behind it.
        begins = np.minimum(np.arange(new.grid[axis]) * step / 10, old.grid[axis] - 1)
        expected = np.broadcast_to(begins[:, None] if axis == 0 else begins, new.grid)
        np.testing.assert_allclose(out[0, 2:, axis].reshape(new.grid).numpy(), expected, atol=1e-5)


def test_another_stride_and_another_length_come_one_after_the_other() -> None:
    old, new = shape(num_frames=1024), shape(16, num_frames=512)
    out = positions_for(grid_positions(*old.grid), old, new)
    # By hand: 64 columns at stride 16 in 10 s, of which 5 s have the middle 32, from 16 on.
    columns = out[0, 2:, 1].reshape(new.grid)[0].numpy()
    np.testing.assert_allclose(columns, (16 + np.arange(32)) * 1.6, atol=1e-5)


def test_of_the_same_stride_only_the_length_counts() -> None:
    old, new = shape(num_frames=1024), shape(num_frames=512)
    position = grid_positions(*old.grid)
    assert torch.equal(positions_for(position, old, new), adapt_position_embedding(position, old.grid, new.grid))
    assert positions_for(position, old, old) is position


def test_between_positions_the_way_is_straight() -> None:
    old, new = shape(num_frames=176, num_mel_bins=48), shape(16, num_frames=176, num_mel_bins=48)
    position = torch.randn(1, old.num_tokens, 2, dtype=torch.float64)
    grid = position[0, 2:].reshape(*old.grid, 2).numpy()
    rows, columns = (np.arange(n) for n in old.grid)
    expected = np.empty((*new.grid, 2))
    for d in range(2):
        by_row = np.stack([np.interp(np.arange(new.grid[0]) * 1.6, rows, grid[:, j, d]) for j in columns], axis=1)
        expected[..., d] = [np.interp(np.arange(new.grid[1]) * 1.6, columns, row) for row in by_row]
    out = positions_for(position, old, new)
    np.testing.assert_allclose(out[0, 2:].reshape(*new.grid, 2).numpy(), expected, atol=1e-12)


def test_positions_of_another_geometry_are_refused() -> None:
    with pytest.raises(ValueError, match="14 embeddings do not fit 2 prefix tokens and a grid of 12 x 50"):
        positions_for(grid_positions(3, 4), shape(num_frames=512), shape(16, num_frames=512))
