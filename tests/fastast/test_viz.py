"""The drawing shows the groups of the source map where they are on the spectrogram."""

from __future__ import annotations

import numpy as np
import pytest

from fastast.geometry import Geometry
from fastast.viz import draw_merges, group_means, patch_groups

SHAPE = Geometry(embed_dim=8, num_heads=1, num_classes=1, num_mel_bins=36, num_frames=46, depth=1)  # 3 x 4 patches


def source() -> np.ndarray:
    return np.array([0, 1, *([2] * 4), *([3, 3, 4, 4]), *([5, 6, 7, 8])])


def test_patches_are_frequency_major() -> None:
    assert patch_groups(source(), SHAPE).tolist() == [[2, 2, 2, 2], [3, 3, 4, 4], [5, 6, 7, 8]]


def test_a_group_has_the_mean_of_its_cells() -> None:
    fbank = np.zeros((46, 36))
    fbank[:, 13:23] = np.linspace(0, 45, 46)[:, None]  # the second row of cells: a ramp in time
    means = group_means(fbank, patch_groups(source(), SHAPE), SHAPE)
    # Cells are the central 10 frames of their patches: 3..12, 13..22, 23..32, 33..42.
    assert means[1].tolist() == [12.5, 12.5, 32.5, 32.5]
    assert means[0].tolist() == [0] * 4


def test_borders_part_groups_only() -> None:
    figure = draw_merges(np.random.default_rng(0).random((46, 36)), source(), SHAPE, title="clip")
    (lines,) = figure.axes[1].collections[1:]
    # Vertical: 1 in row two, 3 in row three; horizontal: 4 between rows one and two, 4 between two and three.
    assert len(lines.get_segments()) == 1 + 3 + 4 + 4
    assert "12 patches in 7 tokens" in figure.axes[1].get_title(loc="left")


def test_another_models_source_map_is_refused() -> None:
    with pytest.raises(ValueError, match="shape .13,.; this model has 14 tokens"):
        draw_merges(np.zeros((46, 36)), source()[:-1], SHAPE)
