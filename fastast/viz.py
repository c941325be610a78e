"""Merged tokens drawn on the spectrogram.

Shapes: `f` frames, `m` mel bins, `f'` and `t'` patches along frequency and time, `n` original tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastast.geometry import Geometry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HOP_SECONDS = 0.01
"""Step between frames."""


def patch_groups(source: NDArray[np.integer], geometry: Geometry) -> NDArray[np.int64]:
    """Return the token that holds each patch, on the patch grid: (n,) -> (f', t')."""
    if source.shape != (geometry.num_tokens,):
        raise ValueError(f"viz: the source map has shape {source.shape}; this model has {geometry.num_tokens} tokens")
    return source[geometry.num_prefix_tokens :].reshape(geometry.grid).astype(np.int64)


def group_means(fbank: NDArray[np.floating], groups: NDArray[np.int64], geometry: Geometry) -> NDArray[np.float64]:
    """Average the spectrogram over each patch's own cell, then over each group: (f, m), (f', t') -> (f', t')."""
    cells = np.empty(groups.shape)
    margin = (geometry.patch_size - geometry.fstride) // 2, (geometry.patch_size - geometry.tstride) // 2
    for i, j in np.ndindex(groups.shape):
        low, start = i * geometry.fstride + margin[0], j * geometry.tstride + margin[1]
        cells[i, j] = fbank[start : start + geometry.tstride, low : low + geometry.fstride].mean()
    labels = groups.ravel() - groups.min()
    totals, counts = np.bincount(labels, cells.ravel()), np.bincount(labels)
    return (totals / np.maximum(counts, 1))[labels].reshape(groups.shape)


def draw_merges(
    fbank: NDArray[np.floating], source: NDArray[np.integer], geometry: Geometry, *, title: str = ""
) -> Figure:
    """Draw a clip and what is left of it: its spectrogram, and below the groups of patches that were merged.

    fbank: (f, m) log-mel, normalised or not. source: (n,) slot of every original token, one clip of
    `MergeTrace.source`. A line is drawn wherever two neighbouring patches went to different tokens; a group has
    one colour, the mean of its cells. Raises ValueError where the shapes are not the geometry's.
    """
    import matplotlib.pyplot as plt

    groups = patch_groups(source, geometry)
    means = group_means(fbank, groups, geometry)
    fig, axes = plt.subplots(2, 1, figsize=(6.75, 3.9), sharex=True, sharey=True, layout="constrained")
    frames, mels = fbank.shape
    limits = np.quantile(fbank, [0.02, 0.995])
    style = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": limits[0], "vmax": limits[1]}
    image = axes[0].imshow(fbank.T, extent=(0, frames * HOP_SECONDS, 0, mels), interpolation="nearest", **style)
    edges_t, edges_f = _edges(geometry)
    axes[1].pcolormesh(edges_t, edges_f, means, cmap="magma", vmin=limits[0], vmax=limits[1], linewidth=0)
    _draw_borders(axes[1], groups, edges_t, edges_f)
    left = len(np.unique(groups[groups >= 0]))
    axes[0].set_title(title or "Log-mel filterbank", fontsize=9, loc="left")
    axes[1].set_title(f"{groups.size} patches in {left} tokens; a line parts two tokens", fontsize=9, loc="left")
    axes[1].set_xlabel("Time (s)")
    axes[1].set_xlim(0, frames * HOP_SECONDS)
    for ax in axes:
        ax.set_ylabel("Mel bin")
    fig.colorbar(image, ax=axes, label="Log energy, normalised", pad=0.01)
    return fig


def _edges(geometry: Geometry) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Borders of the patches' own cells, in seconds and in mel bins."""
    rows, columns = geometry.grid
    half = (geometry.patch_size - geometry.tstride) / 2, (geometry.patch_size - geometry.fstride) / 2
    return (
        (np.arange(columns + 1) * geometry.tstride + half[0]) * HOP_SECONDS,
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
