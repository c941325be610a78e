"""Draw a thin white outline around letters, so that a number stays legible on top of what is drawn behind it.

Matplotlib's own outline (a path effect) would turn the letters into paths, but files keep text as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 1.6
"""Width of the outline in points, half of which is outside the letter."""


def draw_halo(axis: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], size: float) -> None:
    """Draw the outline of a text that is centred, as labels are, `offset` points from `place` in data coordinates."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D, ScaledTranslation

    figure = axis.get_figure(root=True)
    assert figure is not None
    outline = TextPath((0, 0), text, size=size)
    ends = outline.get_extents()
    ascent = TextPath((0, 0), "l", size=size).get_extents().ymax
    centred = Affine2D().translate(offset[0] - (ends.x0 + ends.x1) / 2, offset[1] - ascent / 2).scale(1 / 72)
    there = centred + figure.dpi_scale_trans + ScaledTranslation(*place, axis.transData)  # type: ignore[arg-type]
    line = {"edgecolor": "white", "linewidth": _WIDTH, "joinstyle": "round"}
    halo = PathPatch(outline, facecolor="none", transform=there, zorder=5.9, clip_on=False, **line)
    halo.set_in_layout(False)
    axis.add_artist(halo)
