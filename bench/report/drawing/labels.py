"""Place labels beside points, where they cover neither points nor lines nor each other.

Shapes: `o` candidate places of a label, `s` sampled points of what it could cover.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.report.drawing.halo import draw_halo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

SIZE = 6.0
"""Font size of a label, pt."""
MOST = 40
"""Most labels that are legible on one axis; where there are more, only those marked as `kept` are written."""
_MARKER = 3.5
"""Half the width of a marker, pt."""
_WEIGHTS = {"marker": 30.0, "label": 30.0, "line": 2.5, "bar": 1.0}
"""Cost of covering one sample of each kind; samples are 1 pt apart."""
_EDGE = 2.0
"""Distance that a label keeps from the frame, pt."""
_OUTSIDE = 1000.0
"""Cost of crossing that edge."""
_FAR = 0.6
"""Cost of each pt between a label and its point."""
_STRAY = 4.0
"""Cost of each pt by which a label is nearer to another marker or line than to its own."""

_CROSSED = 12.0
"""Cost of each other line between a label and its point."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text that belongs to a point."""

    x: float
    """x of the point, in data coordinates."""
    y: float
    """y of the point, in data coordinates."""
    text: str
    """Text of the label."""
    colour: str
    """Colour of the text."""
    above: bool
    """Whether to prefer a place above the point to one below it."""
    kept: bool = False
    """Whether to write the label even where there are too many points to label all."""
    line: int | None = None
    """Index of the line that the label names; None if it names only its point."""


def place_labels(axis: Axes, labels: Sequence[Label], *, lines: Sequence[Any] = (), bars: Sequence[Any] = ()) -> None:
    """Write each label, in the order given, at the best of several places around its point.

    lines and bars: polylines, (n, 2) in data coordinates, that labels avoid covering. A label that names a line should
    be nearest to that line; where another line or point is nearer, a leader connects the label to its point. The layout
    of the figure must be final; distances are in pt, so that places do not depend on the resolution. If there are more
    than `MOST` labels, only the kept ones are written, and none if those are more than `MOST` too.
    """
    if len(labels) > MOST:
        labels = [label for label in labels if label.kept]
        if not 0 < len(labels) <= MOST:
            return
    scale = 72.0 / axis.get_figure(root=True).dpi  # type: ignore[union-attr]
    points = axis.transData.transform([(label.x, label.y) for label in labels]) * scale
    frame = axis.get_window_extent()
    inside = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) * scale + (_EDGE, _EDGE, -_EDGE, -_EDGE)
    obstacles = [(_square(point, _MARKER), _WEIGHTS["marker"]) for point in points]
    sampled = [_samples(axis.transData.transform(path) * scale) for path in lines]
    obstacles += [(path, _WEIGHTS["line"]) for path in sampled]
    obstacles += [(_samples(axis.transData.transform(path) * scale), _WEIGHTS["bar"]) for path in bars]
    samples = np.concatenate([covered for covered, _ in obstacles]) if obstacles else np.empty((0, 2))  # (s, 2)
    weights = np.repeat([weight for _, weight in obstacles], [len(covered) for covered, _ in obstacles])  # (s,)
    written: list[tuple[Floats, Floats]] = []
    for label, point in zip(labels, points, strict=True):
        half = np.array([0.32 * SIZE * len(label.text), 0.45 * SIZE])
        places = point + np.stack(_offsets(half, above=label.above))  # (o, 2)
        reach = np.abs(places - point).max(axis=0) + half + 1
        near = (np.abs(samples - point) < reach).all(axis=1)
        costs = _costs(places, half, samples[near], weights[near], inside) + _distance_costs(places, point, points)
        costs += _leader_costs(places, point, written)
        strays = _strays(places, half, point, points)  # (o,)
        if label.line is not None:
            others = [path for place, path in enumerate(sampled) if place != label.line]
            astray = _strays(places, half, sampled[label.line], np.concatenate(others)) if others else strays
            costs, strays = costs + _STRAY * astray.clip(min=0), np.maximum(strays, astray)
            costs += _crossing_costs(places, point, others)
        chosen = int(np.argmin(costs))
        best = places[chosen]
        written.append((best, half))
        own = _rectangle(best, half)
        samples, weights = np.concatenate([samples, own]), np.append(weights, [_WEIGHTS["label"]] * len(own))
        _write(axis, label, best - point, half, leads=bool(strays[chosen] >= 0))


def about_labels(points: Iterable[int], kept: str) -> str:
    """Return the note for a figure in which an axis has too many labels to write all; `kept`: which points keep theirs.

    points: how many labels each axis has. The note is empty where all are written.
    """
    if max(points) <= MOST:
        return ""
    return f"where there are more than {MOST} labels, r stands beside {kept}"


def _offsets(half: Floats, *, above: bool) -> list[Floats]:
    """Return centres of a label relative to its point, preferred ones first: of equal costs the first wins."""
    side = 1 if above else -1
    angles = [side * 90, -side * 90, side * 50, side * 130, -side * 50, -side * 130, 0, 180]
    found = []
    for gap in (0.0, 3.0, 6.0, 10.0, 15.0):
        for angle in angles:
            way = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            way[np.abs(way) < 1e-9] = 0
            found.append(way * (half + _MARKER + 1 + gap))
    return found


def _costs(places: Floats, half: Floats, samples: Floats, weights: Floats, inside: Floats) -> Floats:
    """Return the cost of what a label covers at each place, (o,), from samples (s, 2) and the cost of each, (s,)."""
    covers = (np.abs(samples - places[:, None]) < half + 0.5).all(axis=2)  # (o, s)
    over = np.concatenate([inside[:2] - (places - half), (places + half) - inside[2:]], axis=1).max(axis=1)  # (o,)
    return covers @ weights + np.where(over > 0, _OUTSIDE + over, 0.0)


def _distance_costs(places: Floats, own: Floats, points: Floats) -> Floats:
    """Return the cost of being far from the label's own point and of looking like the label of another, (o,)."""
    distance = np.hypot(*(places - own).T)  # (o,)
    others = points[(points != own).any(axis=1)]
    if not len(others):
        return _FAR * distance
    nearest = np.hypot(*np.moveaxis(others - places[:, None], 2, 0)).min(axis=1)  # (o,)
    return _FAR * distance + _STRAY * np.maximum(0.0, distance + 1 - nearest)


def _strays(places: Floats, half: Floats, own: Floats, others: Floats) -> Floats:
    """Return by how much a label at each place is nearer to `others` than to `own`, (o,); negative where it is not.

    own: one point (2,), or samples (n, 2) of a line. others: samples (n, 2). Distances are from the edge of the label.
    """
    others = others[(others != own).any(axis=1)] if own.ndim == 1 else others
    if not len(others):
        return np.full(len(places), -1.0)
    away = [
        np.hypot(*np.moveaxis((np.abs(there - places[:, None]) - half).clip(min=0), 2, 0)).min(axis=1)
        for there in (np.atleast_2d(own), others)
    ]
    return np.asarray(away[0] - away[1])


def _crossing_costs(places: Floats, point: Floats, others: Sequence[Floats]) -> Floats:
    """Return the cost of crossing other lines, samples (n, 2) each, on the way from a label to its point, (o,)."""
    ways = point + (places - point)[:, None] * np.linspace(0.2, 1, 12)[:, None]  # (o, 12, 2)
    found = np.zeros(len(places))
    for path in others:
        near = path[(np.abs(path - point) < 2 + np.abs(places - point).max(axis=0)).all(axis=1)]
        if len(near):
            found += np.hypot(*np.moveaxis(near - ways[:, :, None], 3, 0)).min(axis=(1, 2)) < 1
    return _CROSSED * found


def _leader_costs(places: Floats, point: Floats, written: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Return the cost of passing through other labels on the way from a label to its point, (o,): as for covering them.

    written: centres and half sizes of the labels placed so far.
    """
    ways = point + (places - point)[:, None] * np.linspace(0, 1, 24)[:, None]  # (o, 24, 2)
    crossed = [np.any(np.all(np.abs(ways - centre) < half, axis=2), axis=1) for centre, half in written]
    return _WEIGHTS["label"] * np.sum(crossed, axis=0) if crossed else np.zeros(len(places))


def _write(axis: Axes, label: Label, offset: Floats, half: Floats, *, leads: bool) -> None:
    far = leads or np.abs(offset).max() > (half + _MARKER + 4).max()
    text = axis.annotate(
        label.text,
        (label.x, label.y),
        xytext=(float(offset[0]), float(offset[1])),
        textcoords="offset points",
        ha="center",
        va="center_baseline",
        fontsize=SIZE,
        color=label.colour,
        zorder=6,
        arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
        if far
        else None,
    )
    text.set_in_layout(False)
    draw_halo(axis, label.text, (label.x, label.y), (float(offset[0]), float(offset[1])), SIZE)


def _samples(path: Floats) -> Floats:
    """Return points about 1 pt apart along a polyline, (n, 2); a single point is returned as it is."""
    pieces = [] if len(path) > 1 else [path]
    for start, end in itertools.pairwise(path):
        count = max(2, int(np.hypot(*(end - start))) + 1)
        pieces.append(start + (end - start) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(pieces) if pieces else np.empty((0, 2))


def _square(centre: Floats, half: float) -> Floats:
    return _rectangle(centre, np.array([half, half]))


def _rectangle(centre: Floats, half: Floats) -> Floats:
    """Return points about 1 pt apart that fill a rectangle, (n, 2)."""
    across, up = (np.linspace(-h, h, int(2 * h) + 2) for h in half)
    return centre + np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
