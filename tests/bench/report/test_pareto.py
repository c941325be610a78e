"""Dominance, against the definition by brute force."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.report.pareto import Point, clearly_dominates, dominates, pareto_front, standing


def point(throughput: float, quality: float, spread: float = 0.0) -> Point:
    return Point(
        throughput=throughput,
        quality=quality,
        throughput_interval=(throughput - spread, throughput + spread),
        quality_interval=(quality - spread, quality + spread),
    )


def test_a_front_by_hand() -> None:
    points = [point(1, 9), point(2, 8), point(3, 5), point(2, 7), point(1, 5), point(3, 5)]
    assert pareto_front(points).tolist() == [True, True, True, False, False, True]


def test_intervals_tell_dominated_from_clearly_dominated() -> None:
    points = [point(10, 0.50, 0.5), point(10.2, 0.501, 0.5), point(4, -0.6, 0.5)]
    assert standing(points) == ["dominated", "front", "clearly dominated"]


def test_what_is_slower_but_perhaps_better_is_not_clearly_dominated() -> None:
    # Seen: the unmerged model against one with a difference in mAP of +0.0007 [-0.0138, +0.0120] and twice its speed.
    unmerged = Point(throughput=10, quality=0.5, throughput_interval=(9, 11), quality_interval=(0.5, 0.5))
    merged = Point(throughput=20, quality=0.5007, throughput_interval=(18, 22), quality_interval=(0.4862, 0.5120))
    assert standing([unmerged, merged]) == ["dominated", "front"]
    better = Point(throughput=20, quality=0.52, throughput_interval=(18, 22), quality_interval=(0.51, 0.53))
    assert standing([unmerged, better]) == ["clearly dominated", "front"]


values = st.integers(0, 6).map(float)  # few values, so that ties are common


@given(st.lists(st.tuples(values, values), min_size=1, max_size=12))
def test_the_front_is_all_that_nothing_beats(pairs: list[tuple[float, float]]) -> None:
    points = [point(*pair) for pair in pairs]
    for (x, y), on_front in zip(pairs, pareto_front(points), strict=True):
        beaten = any((a >= x and b > y) or (a > x and b >= y) for a, b in pairs)
        assert on_front == (not beaten)


@given(st.tuples(values, values), st.tuples(values, values), st.floats(0, 3))
def test_clear_dominance_is_dominance_and_never_mutual(a: tuple, b: tuple, spread: float) -> None:
    first, second = point(*a, spread), point(*b, spread)
    assert not clearly_dominates(first, second) or dominates(first, second)
    assert not (dominates(first, second) and dominates(second, first))


boxes = st.tuples(values, values, *[st.integers(0, 3).map(float)] * 4)


@given(st.lists(boxes, min_size=1, max_size=10))
def test_standing_is_what_a_look_at_every_pair_gives(found: list[tuple[float, ...]]) -> None:
    points = [
        Point(throughput=x, quality=y, throughput_interval=(x - a, x + b), quality_interval=(y - c, y + d))
        for x, y, a, b, c, d in found
    ]
    for (x, y, _, b, _, d), word in zip(found, standing(points), strict=True):
        better = [other for other in found if other[0] >= x and other[1] >= y and other[:2] != (x, y)]
        apart = [other for other in better if other[0] - other[2] > x + b and other[1] - other[4] > y + d]
        assert word == ("front" if not better else "clearly dominated" if apart else "dominated")
