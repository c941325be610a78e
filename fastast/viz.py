"""Draw merged tokens on the spectrogram.

Shapes: `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `n` original tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastast.frontend.filterbank import SHIFT_SECONDS
from fastast.geometry import Geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def patch_groups(source: NDArray[np.integer], geometry: Geometry) -> NDArray[np.int64]:
    """Return the token that holds each patch, on the patch grid: (n,) -> (f', t')."""
    if source.shape != (geometry.num_tokens,):
        raise ValueError(f"viz: the source map has shape {source.shape}; this model has {geometry.num_tokens} tokens")
    return source[geometry.num_prefix_tokens :].reshape(geometry.grid).astype(np.int64)


def group_means(fbank: NDArray[np.floating], groups: NDArray[np.int64], geometry: Geometry) -> NDArray[np.float64]:
    """Average the spectrogram over each patch's own cell, then over each group: (f, m), (f', t') -> (f', t').

    Raises ValueError for a spectrogram that is not of the model's input size.
    """
    wanted = (geometry.num_frames, geometry.num_mel_bins)
    if fbank.shape != wanted:
        raise ValueError(f"viz: the spectrogram has shape {fbank.shape}; this model takes {wanted}, frames by mels")
    cells = np.empty(groups.shape)
    margin = tuple(max(0, geometry.patch_size - stride) // 2 for stride in (geometry.fstride, geometry.tstride))
    for i, j in np.ndindex(groups.shape):
        low, start = i * geometry.fstride + margin[0], j * geometry.tstride + margin[1]
        cells[i, j] = fbank[start : start + geometry.tstride, low : low + geometry.fstride].mean()
    labels = groups.ravel() - groups.min()
    totals, counts = np.bincount(labels, cells.ravel()), np.bincount(labels)
    return (totals / np.maximum(counts, 1))[labels].reshape(groups.shape)


def draw_merges(
    fbank: NDArray[np.floating], source: NDArray[np.integer], geometry: Geometry, *, title: str = ""
) -> Figure:
    """Draw the spectrogram of a clip and, below it, the groups of patches that were merged.

    fbank: (f, m) log-mel, normalised or not. source: (n,) slot of every original token, one clip of
    `MergeTrace.source`. A line separates neighbouring patches that went to different tokens; a group has one colour,
    the mean of its cells; dropped patches are black. Raises ValueError where either does not fit the geometry.
    """
    return _draw(fbank, {"": source}, geometry, title=title)


def draw_merges_by_block(
    fbank: NDArray[np.floating],
    sources: Sequence[NDArray[np.integer]],
    geometry: Geometry,
    *,
    blocks: Sequence[int] | None = None,
    title: str = "",
) -> Figure:
    """Draw the spectrogram of a clip and, below it, the groups after some of the blocks, as in `draw_merges`.

    sources: (n,) of every block, one clip of `MergeTrace.source`. blocks: which to draw, counted from 1; by default the
    first, the last and those at a third and two thirds of the depth. Raises ValueError for a block that does not exist.
    """
    depth = len(sources)
    shown = sorted({1, round(depth / 3), round(2 * depth / 3), depth} - {0}) if blocks is None else blocks
    for block in shown:
        if not 1 <= block <= depth:
            raise ValueError(f"viz: there is no block {block}; the trace has blocks 1 to {depth}")
    return _draw(fbank, {f"After block {block}: ": sources[block - 1] for block in shown}, geometry, title=title)


def _draw(
    fbank: NDArray[np.floating], sources: Mapping[str, NDArray[np.integer]], geometry: Geometry, *, title: str
) -> Figure:
    """Draw the spectrogram, and below it one panel for each source map (n,) under its name."""
    import matplotlib.pyplot as plt

    if not sources:
        raise ValueError("viz: there is no block to draw; name at least one")
    rows = 1 + len(sources)
    height = 3.9 if rows == 2 else 0.5 + 1.15 * rows
    fig, axes = plt.subplots(rows, 1, figsize=(6.75, height), sharex=True, sharey=True, layout="constrained")
    frames, mels = fbank.shape
    limits = np.quantile(fbank, [0.02, 0.995])
    style = {"cmap": "magma", "vmin": limits[0], "vmax": limits[1]}
    extent = (0, frames * SHIFT_SECONDS, 0, mels)
    image = axes[0].imshow(fbank.T, extent=extent, interpolation="nearest", origin="lower", aspect="auto", **style)
    axes[0].set_title(title or "Log-mel filterbank", fontsize=8, loc="left", parse_math=False)
    edges_t, edges_f = _edges(geometry)
    for axis, (name, source) in zip(axes[1:], sources.items(), strict=True):
        groups = patch_groups(source, geometry)
        means = np.where(groups < 0, limits[0], group_means(fbank, groups, geometry))
        axis.pcolormesh(edges_t, edges_f, means, linewidth=0, **style)
        _draw_borders(axis, groups, edges_t, edges_f)
        left = len(np.unique(groups[groups >= 0]))
        tail = "; a line parts two tokens" if axis is axes[1] else ""
        axis.set_title(f"{name}{groups.size} patches in {left} tokens{tail}", fontsize=8, loc="left")
    axes[-1].set_xlabel("Time (s)")
    axes[-1].set_xlim(0, frames * SHIFT_SECONDS)
    for axis in axes:
        axis.set_ylabel("Mel bin")
    fig.colorbar(image, ax=axes, label="Log energy, normalised", pad=0.01)
    return fig


def _edges(geometry: Geometry) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the borders of the patches' own cells, in seconds and in mel bins."""
    rows, columns = geometry.grid
    half = (geometry.patch_size - geometry.tstride) / 2, (geometry.patch_size - geometry.fstride) / 2
    return (
        (np.arange(columns + 1) * geometry.tstride + half[0]) * SHIFT_SECONDS,
        np.arange(rows + 1) * geometry.fstride + half[1],
    )


def _draw_borders(
    ax: Axes, groups: NDArray[np.int64], edges_t: NDArray[np.floating], edges_f: NDArray[np.floating]
) -> None:
    """Draw a line between every two neighbouring cells of different groups."""
    from matplotlib.collections import LineCollection

    lines = []
    for i, j in np.argwhere(groups[:, 1:] != groups[:, :-1]):
        lines.append([(edges_t[j + 1], edges_f[i]), (edges_t[j + 1], edges_f[i + 1])])
    for i, j in np.argwhere(groups[1:] != groups[:-1]):
        lines.append([(edges_t[j], edges_f[i + 1]), (edges_t[j + 1], edges_f[i + 1])])
    ax.add_collection(LineCollection(lines, colors="white", linewidths=0.5))
