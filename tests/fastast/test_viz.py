"""The drawing shows the groups of the source map where they are on the spectrogram."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastast.geometry import Geometry
from fastast.viz import draw_merges, draw_merges_by_block, group_means, patch_groups

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


@pytest.mark.parametrize("shape", [(45, 36), (46, 35), (36, 46)])
def test_a_spectrogram_of_another_size_is_refused_and_not_drawn_with_holes(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="this model takes .46, 36., frames by mels"):
        draw_merges(np.zeros(shape), source(), SHAPE)


def test_merges_are_drawn_over_depth_under_the_sounds_name_and_what_is_heard() -> None:
    whole = np.arange(14)
    sources = [whole, whole, source(), source(), source(), source()]
    figure = draw_merges_by_block(np.zeros((46, 36)), sources, SHAPE, title="bell.ogg: Bell 0.90")
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    assert titles == [
        "bell.ogg: Bell 0.90",
        "After block 1: 12 patches in 12 tokens; a line parts two tokens",
        "After block 2: 12 patches in 12 tokens",
        "After block 4: 12 patches in 7 tokens",
        "After block 6: 12 patches in 7 tokens",
    ]
    one = draw_merges_by_block(np.zeros((46, 36)), sources, SHAPE, blocks=[3])
    assert one.axes[1].get_title(loc="left").startswith("After block 3: 12 patches in 7 tokens")
    with pytest.raises(ValueError, match="there is no block 7; the trace has blocks 1 to 6"):
        draw_merges_by_block(np.zeros((46, 36)), sources, SHAPE, blocks=[7])


def test_patches_that_were_dropped_are_dark_and_no_token() -> None:
    dropped = source().copy()
    dropped[-1] = -1
    figure = draw_merges(np.full((46, 36), 5.0), dropped, SHAPE)
    assert "12 patches in 6 tokens" in figure.axes[1].get_title(loc="left")


def test_patches_further_apart_than_they_are_wide_have_a_mean_too() -> None:
    wide = dataclasses.replace(SHAPE, num_frames=100, num_mel_bins=100, fstride=20, tstride=20)
    groups = np.arange(np.prod(wide.grid)).reshape(wide.grid)
    means = group_means(np.ones((100, 100)), groups, wide)
    np.testing.assert_allclose(means, 1)


def test_no_block_is_no_picture() -> None:
    with pytest.raises(ValueError, match="there is no block to draw"):
        draw_merges_by_block(np.zeros((46, 36)), [source()], SHAPE, blocks=[])
