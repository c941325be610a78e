"""Figures of what methods merge: along which axis, how similar tokens are, and whether silence goes before sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.drawing.layout import fix_layout, footnote
from bench.report.drawing.side_by_side import side_by_side
from bench.report.drawing.style import COLOURS, GREY
from bench.report.words import listed
from bench.understanding.record import BlockNotes, MethodNotes, Understanding
from bench.understanding.said import draws_once, in_percent, observed_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
_OTHERS = "#cccccc"


def axes_figure(found: Understanding, labels: dict[str, str]) -> Figure:
    """Draw by block and method the shares of pairs along time, of pairs along frequency, and of neighbours."""
    shown = [one for one in found.methods if any(block.pairs for block in one.blocks)]

    def draw(axis: Axes, one: MethodNotes) -> None:
        for values, colour, style in (
            (_of(one, lambda block: block.along_time), COLOURS[0], "-"),
            (_of(one, lambda block: block.along_frequency), COLOURS[1], "--"),
            (_of(one, lambda block: block.neighbours), GREY, ":"),
        ):
            axis.plot(_numbers(one), values, color=colour, linestyle=style, linewidth=1.2)
        axis.set_ylim(0, 1)

    said = (
        "solid blue: same frequency, another time; dashed orange: same time, another frequency; dotted: at most one "
        "patch apart"
    )
    about = "shares of all pairs of these clips, without an interval: pairs of one clip are not independent"
    return _facets(shown, labels, draw, "Share of the pairs that merge", said, f"{observed_facts(found)}; {about}")


def silence_figure(found: Understanding, labels: dict[str, str]) -> Figure:
    """Draw by block and method how much more of the silence is gone than of the events, with other methods in grey.

    A method that draws at random has no band: an interval over clips would not cover other draws.
    """
    shown = [one for one in found.methods if one.silence_leads]

    def part(one: MethodNotes, at: int) -> np.ndarray:
        return _of(one, lambda block: block.silence_leads[at] if block.silence_leads else None)

    def draw(axis: Axes, one: MethodNotes) -> None:
        for other in shown:
            axis.plot(_numbers(other), part(other, 1), color=_OTHERS, linewidth=0.7, zorder=1)
        axis.axhline(0, color="black", linewidth=0.7, zorder=1.5)
        if not draws_once(one):
            axis.fill_between(_numbers(one), part(one, 0), part(one, 2), color=COLOURS[0], alpha=0.25, linewidth=0)
        axis.plot(_numbers(one), part(one, 1), color=COLOURS[0], linewidth=1.2, zorder=3)

    said = (
        f"above 0 silence goes first, below 0 events ({in_percent(found.sounding)} of all patches); band: 95 % "
        "interval over clips; grey: the other methods"
    )
    chance = [labels.get(one.method, one.method) for one in shown if draws_once(one)]
    once = (
        f"; no band: {listed(chance)} drew once, and how far another draw would differ is not known" if chance else ""
    )
    quantity = "Share of silent patches gone, less that of sounding ones"
    return _facets(shown, labels, draw, quantity, said, observed_facts(found) + once)


def similarity_figure(found: Understanding, labels: dict[str, str]) -> Figure:
    """Draw by block and method how similar the keys of pairs are: median and quartiles, with other medians in grey."""
    shown = [one for one in found.methods if any(block.similarity for block in one.blocks)]

    def middle(one: MethodNotes) -> np.ndarray:
        return _of(one, lambda block: block.similarity[1] if block.similarity else None)

    def draw(axis: Axes, one: MethodNotes) -> None:
        for other in shown:
            axis.plot(_numbers(other), middle(other), color=_OTHERS, linewidth=0.7, zorder=1)
        low = _of(one, lambda block: block.similarity[0] if block.similarity else None)
        high = _of(one, lambda block: block.similarity[2] if block.similarity else None)
        axis.fill_between(_numbers(one), low, high, color=COLOURS[0], alpha=0.25, linewidth=0, zorder=2)
        axis.plot(_numbers(one), middle(one), color=COLOURS[0], linewidth=1.2, zorder=3)

    said = "line: median; band: quartiles of the pairs; grey: the other methods"
    return _facets(shown, labels, draw, "Cosine of the keys of pairs", said, observed_facts(found))


def _facets(
    shown: Sequence[MethodNotes],
    labels: dict[str, str],
    draw: Callable[[Axes, MethodNotes], None],
    quantity: str,
    said: str,
    about: str,
) -> Figure:
    """Draw a panel per method, with `said` above and `about` below. Raises ValueError if there are no methods."""
    if not shown:
        raise ValueError("understanding: no method has anything to draw")
    figure, axes = side_by_side(len(shown), min(COLUMNS, len(shown)), row=1.45, around=0.9, xlabel="Block")
    for axis, one in zip(axes, shown, strict=True):
        draw(axis, one)
        axis.set_title(labels.get(one.method, one.method), loc="left", size=8)
        axis.set_xticks(range(1, len(one.blocks) + 1, 3))
    figure.supylabel(quantity, fontsize=8)
    footnote(figure, about)
    figure.suptitle(said, fontsize=7, color=GREY)
    fix_layout(figure)
    return figure


def _numbers(one: MethodNotes) -> range:
    return range(1, len(one.blocks) + 1)


def _of(one: MethodNotes, value: Callable[[BlockNotes], float | None]) -> np.ndarray:
    return np.array([np.nan if (found := value(block)) is None else found for block in one.blocks])
