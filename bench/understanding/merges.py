"""The figure of merges on a spectrogram: a panel per method, with patches coloured by the block in which they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.report.drawing.layout import fix_layout, footnote
from bench.report.drawing.side_by_side import side_by_side
from bench.report.drawing.style import GREY
from bench.understanding.picture import gone_blocks, pixels_of
from bench.understanding.record import Understanding
from bench.understanding.said import observed_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
_SOUNDS = "#D55E00"


def merges_figure(found: Understanding, labels: dict[str, str]) -> Figure:
    """Draw one clip once per method: its spectrogram in grey, and patches whose token goes coloured by block."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    names = [f"the clip: {found.picture.clip}", *(labels.get(one.method, one.method) for one in found.methods)]
    figure, axes = side_by_side(len(names), COLUMNS, row=1.0, around=1.0, xlabel="Time (s)")
    depth = max(len(one.blocks) for one in found.methods)
    scale = ScalarMappable(Normalize(1, depth), "viridis")
    for place, (axis, name) in enumerate(zip(axes, names, strict=True)):
        _clip(axis, found)
        axis.set_title(name, loc="left", size=8)
        if place:
            _patches(axis, found, place - 1, scale)
    figure.colorbar(scale, ax=figure.axes, label="Block", pad=0.01, aspect=40)
    footnote(
        figure,
        observed_facts(found),
        f"{found.picture.clip}: the first of these clips in which events sound for about half of the time",
    )
    figure.supylabel("Mel bin", fontsize=8)
    said = "coloured by the block in which a patch's token goes; uncoloured: never; orange above: an event sounds"
    figure.suptitle(said, fontsize=7, color=GREY)
    fix_layout(figure)
    return figure


def _clip(axis: Axes, found: Understanding) -> None:
    picture = found.picture
    extent = (0.0, picture.seconds, 0.0, float(picture.mel_bins))
    axis.imshow(pixels_of(picture), cmap="gray", origin="lower", aspect="auto", extent=extent)
    edges = np.linspace(*picture.edges_s, len(picture.sounding) + 1)
    for place, letter in enumerate(picture.sounding):
        if letter == "#":
            axis.plot(edges[place : place + 2], [1.03, 1.03], color=_SOUNDS, linewidth=2, clip_on=False,
                      transform=axis.get_xaxis_transform(), solid_capstyle="butt")  # fmt: skip
    axis.grid(False)
    axis.set_xlim(0, picture.seconds)
    axis.set_ylim(0, picture.mel_bins)


def _patches(axis: Axes, found: Understanding, number: int, scale: object) -> None:
    blocks = gone_blocks(found.methods[number].gone_at)  # (f', t')
    colours = scale.to_rgba(np.nan_to_num(blocks, nan=1.0))  # type: ignore[attr-defined]
    colours[..., 3] = np.where(np.isnan(blocks), 0.0, 0.65)
    extent = (*found.picture.edges_s, *found.picture.edges_mel)
    axis.imshow(colours, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
