"""The search against every schedule there is, on problems small enough to try them all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fastast.tuning.search import search_front


def problem(seed: int, depth: int = 3, levels: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Costs without any rule, whole numbers so that sums are exact; some steps are impossible."""
    rng = np.random.default_rng(seed)
    seconds = rng.integers(1, 60, (depth, levels, levels)).astype(float)
    losses = rng.integers(0, 90, (depth, levels, levels)).astype(float)
    backwards = np.tril(np.ones((levels, levels), dtype=bool), -1)
    seconds[:, backwards] = np.inf
    seconds[rng.random(seconds.shape) < 0.15] = np.inf
    return seconds, losses


def every_schedule(seconds: NDArray[np.float64], losses: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Time and loss of each possible schedule, by trying all."""
    depth, levels, _ = seconds.shape
    found = []
    for way in itertools.product(range(levels), repeat=depth):
        steps = list(zip((0, *way[:-1]), way, strict=True))
        time = sum(seconds[k, i, j] for k, (i, j) in enumerate(steps))
        if np.isfinite(time):
            found.append((time, sum(losses[k, i, j] for k, (i, j) in enumerate(steps))))
    return found


def front_of(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats: as fast and less lossy, or faster and as lossy."""
    beaten = [
        any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points) for point in points
    ]
    return sorted({point for point, lost in zip(points, beaten, strict=True) if not lost})


@pytest.mark.parametrize("seed", range(12))
def test_the_front_is_that_of_all_schedules(seed: int) -> None:
    seconds, losses = problem(seed)
    found = search_front(seconds, losses)
    assert [(point.seconds, point.loss) for point in found] == front_of(every_schedule(seconds, losses))


@pytest.mark.parametrize("seed", range(4))
def test_every_point_is_a_schedule_of_that_cost(seed: int) -> None:
    seconds, losses = problem(seed, depth=5)
    for point in search_front(seconds, losses):
        steps = list(enumerate(zip((0, *point.levels[:-1]), point.levels, strict=True)))
        assert sum(seconds[k, i, j] for k, (i, j) in steps) == point.seconds
        assert sum(losses[k, i, j] for k, (i, j) in steps) == point.loss


@pytest.mark.parametrize("seed", range(6))
def test_intervals_of_time_cost_at_most_one_per_block(seed: int) -> None:
    seconds, losses = problem(seed, depth=4, levels=6)
    width = 5.0
    coarse = search_front(seconds, losses, width=width)
    for time, loss in front_of(every_schedule(seconds, losses)):
        near = [point for point in coarse if point.seconds <= time + len(seconds) * width]
        assert min(point.loss for point in near) <= loss


def test_no_schedule_is_no_front() -> None:
    seconds, losses = problem(0)
    seconds[1] = np.inf
    assert search_front(seconds, losses) == []
