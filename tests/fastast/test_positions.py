"""Position embeddings on another grid, against hand computations and torch-free interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastast.positions import adapt_position_embedding


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
