"""Labels cover neither points nor each other, and stay inside."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.transforms import Bbox

from bench.report.labels import Label, place_labels


@pytest.fixture
def axis():
    figure, axis = plt.subplots(figsize=(3.2, 2.5), dpi=100)
    yield axis
    plt.close(figure)


def placed(axis, points: list[tuple[float, float]], **kwargs) -> list[Bbox]:
    axis.plot(*np.transpose(points), "o")
    axis.margins(0.1)
    axis.figure.draw_without_rendering()
    labels = [
        Label(x=x, y=y, text=str(10 * i), colour="black", above=bool(i % 2)) for i, (x, y) in enumerate(points, 1)
    ]
    place_labels(axis, labels, **kwargs)
    axis.figure.draw_without_rendering()
    return [text.get_window_extent() for text in axis.texts]


def overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 1 and shared.height > 1


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_crowded_points_cover_neither_each_other_nor_points(axis, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in random.normal(size=(3, 2)).repeat(3, axis=0)]
    points = [(x + 0.05 * (i % 3), y + 0.03 * (i % 3)) for i, (x, y) in enumerate(points)]
    boxes = placed(axis, points)
    assert len(boxes) == 9
    assert not any(overlap(one, other) for one, other in itertools.combinations(boxes, 2))
    around = 2.5 * 100 / 72  # of a marker, pixels
    for x, y in axis.transData.transform(points):
        marker = Bbox([(x - around, y - around), (x + around, y + around)])
        assert not any(overlap(box, marker) for box in boxes)
    frame = axis.get_window_extent()
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)


def test_a_lone_label_stands_on_its_side_unless_a_line_does(axis) -> None:
    _, box, _ = placed(axis, [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
    _, y = axis.transData.transform((0.5, 0.5))
    assert box.y1 < y  # below, as asked
    axis.texts[1].remove()
    line = [(0.0, 0.45), (1.0, 0.45)]
    label = Label(x=0.5, y=0.5, text="10", colour="black", above=False)
    place_labels(axis, [label], lines=[line])
    axis.figure.draw_without_rendering()
    assert axis.texts[-1].get_window_extent().y0 > axis.transData.transform((0.5, 0.45))[1]


def test_the_place_above_is_not_taken_where_another_point_is(axis) -> None:
    points = [(0.5, 0.5), (0.5, 0.56), (0.0, 0.0), (1.0, 1.0)]
    boxes = placed(axis, points)  # of the first one above, of the second one below, where there is room
    assert not any(box.contains(*place) for box in boxes for place in axis.transData.transform(points))


def test_a_label_in_a_corner_stays_inside(axis) -> None:
    axis.plot([0, 1], [0, 1], "o")
    axis.margins(0)
    axis.figure.draw_without_rendering()
    place_labels(axis, [Label(x=1, y=1, text="40", colour="black", above=True)])
    axis.figure.draw_without_rendering()
    box, frame = axis.texts[0].get_window_extent(), axis.get_window_extent()
    assert frame.contains(*box.min)
    assert frame.contains(*box.max)


def test_a_label_stands_nearest_to_its_own_point(axis) -> None:
    points = [(0.0, 0.5), (0.03, 0.5)]
    axis.set(xlim=(-0.05, 1), ylim=(0, 1))  # little room at the left of the first one
    axis.figure.draw_without_rendering()
    bars = [[(x, 0.0), (x, 1.0)] for x, _ in points] + [[(x - 0.1, y), (x + 0.1, y)] for x, y in points]
    labels = [Label(x=x, y=y, text="10", colour="black", above=True) for x, y in points]
    place_labels(axis, labels, bars=bars)
    axis.figure.draw_without_rendering()
    markers = axis.transData.transform(points)
    for i, text in enumerate(axis.texts):
        box = text.get_window_extent()
        assert int(np.argmin(np.hypot(*(markers - (box.min + box.max) / 2).T))) == i
