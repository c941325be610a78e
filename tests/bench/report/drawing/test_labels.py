"""Labels cover neither points nor each other, and stay inside."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.report.drawing.files import figure_file
from bench.report.drawing.labels import Label, _leader_costs, about_labels, place_labels
from bench.report.drawing.layout import balanced
from bench.report.figures.schedules import _clearest
from bench.report.words import family_words


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
    return [Text.get_window_extent(text) for text in axis.texts]  # without the way to its point


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


@pytest.mark.parametrize(("kept", "written"), [(0, 0), (7, 7), (60, 0)])
def test_of_points_that_are_too_many_to_name_all_those_that_matter_are(axis, kept: int, written: int) -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    axis.plot(*points.T, "o")
    labels = [
        Label(x=x, y=y, text=str(i), colour="black", above=True, kept=i < kept) for i, (x, y) in enumerate(points)
    ]
    place_labels(axis, labels)
    assert sorted(text.get_text() for text in axis.texts) == sorted(str(i) for i in range(written))


def test_a_caption_says_where_labels_are_left_out() -> None:
    assert about_labels([3, 40], "none of them") == ""
    assert about_labels([41, 3], "none of them") == "where there are more than 40 labels, r stands beside none of them"


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


def test_the_way_from_a_label_to_its_point_leads_through_no_other_label() -> None:
    point, places = np.array([0.0, 0.0]), np.array([[40.0, 0.0], [0.0, 40.0]])
    costs = _leader_costs(places, point, [(np.array([20.0, 0.0]), np.array([5.0, 3.0]))])
    assert costs[0] > 10
    assert costs[1] == 0
    assert _leader_costs(places, point, []).tolist() == [0, 0]


def test_lines_of_a_caption_are_about_equally_long_and_as_few_as_fit() -> None:
    text = "one two three four five six seven eight nine ten"
    lines = balanced(text, 40).splitlines()
    assert len(lines) == 2  # 48 letters
    assert max(map(len, lines)) - min(map(len, lines)) < 5
    assert " ".join(lines) == text
    assert balanced("short", 40) == "short"


def test_a_shape_is_named_where_it_is_furthest_from_the_others_on_its_freer_side() -> None:
    one, other = np.array([10.0, 8, 6, 4, 2]), np.array([10.0, 8, 3, 3, 2])
    assert _clearest(one, [other]) == (2, True)
    assert _clearest(one, [])[0] == 2
    assert _clearest(np.array([10.0, 5.0]), [np.array([10.0, 10.0])]) == (1, False)
    close, high = np.array([10.0, 7, 4, 3, 2]), np.array([10.0, 9, 11, 12, 12])
    assert _clearest(one, [close, high]) == (2, True)  # 5 above and 2 below, of 1 and 1 in the first block
    assert _clearest(one, [np.array([10.0, 8.5, 7, 5, 3]), np.array([10.0, 6, 2, 1, 1])]) == (2, False)


def test_a_label_that_another_line_is_nearer_to_leads_to_its_own(axis) -> None:
    lines = [[(0.0, y), (1.0, y)] for y in (0.49, 0.5, 0.51)]  # no label fits between them
    for line in lines:
        axis.plot(*np.transpose(line))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.figure.draw_without_rendering()
    place_labels(axis, [Label(x=0.5, y=0.5, text="200", colour="black", above=True, line=1)], lines=lines)
    assert axis.texts[0].arrow_patch is not None


def test_a_label_stands_on_the_side_of_its_line_where_no_other_one_is(axis) -> None:
    lines = [[(0.0, y), (1.0, y)] for y in (0.5, 0.6)]
    for line in lines:
        axis.plot(*np.transpose(line))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.figure.draw_without_rendering()
    place_labels(axis, [Label(x=0.5, y=0.5, text="200", colour="black", above=True, line=0)], lines=lines)
    axis.figure.draw_without_rendering()
    assert axis.texts[0].get_window_extent().y1 < axis.transData.transform((0.5, 0.5))[1]
    assert axis.texts[0].arrow_patch is None


def test_numbers_have_a_white_line_around_them_and_stay_text(axis) -> None:
    axis.plot([0, 1], [0, 1])
    axis.figure.draw_without_rendering()
    place_labels(axis, [Label(x=0.5, y=0.5, text="200", colour="black", above=True)])
    (halo,) = [patch for patch in axis.patches if patch.get_edgecolor()[:3] == (1, 1, 1)]
    axis.figure.draw_without_rendering()
    text, around = axis.texts[0].get_window_extent(), halo.get_window_extent()
    assert np.hypot(*((text.min + text.max - around.min - around.max) / 2)) < 1  # pixel
    assert halo.get_zorder() < axis.texts[0].get_zorder()
    with plt.rc_context({"svg.fonttype": "none"}):  # as reports are written
        assert ">200</text>" in figure_file(axis.figure, "svg").decode()


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("constant", "constant r"),
        ("linear:-0.5", "linear −0.5"),
        ("keep:0.9", "keep 0.9"),
        ("list:0,0,0,300", "block 4 only"),
        ("list:10,0,0,300", "list:10,0,0,300"),
        ("none", "none"),
    ],
)
def test_families_of_schedules_have_words(family, words):
    assert family_words(family) == words
