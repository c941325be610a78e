"""The best batch size is searched, for every shape of a throughput curve."""

from __future__ import annotations

import pytest

from bench.measure.best_batch import ITERATIONS, fastest_seconds, search_best_batch


class NoMemoryError(RuntimeError):
    pass


def search(curve: dict[int, float | None], limit: int = 64):
    """Search over a throughput by batch size; None does not fit."""
    asked = []

    def time_batch(size: int) -> float:
        asked.append(size)
        if curve[size] is None:
            raise NoMemoryError
        return size / curve[size]

    found = search_best_batch(time_batch, limit=limit, is_out_of_memory=lambda error: isinstance(error, NoMemoryError))
    return found, asked


def test_the_peak_is_found_and_the_search_ends_behind_it():
    found, asked = search({1: 10, 2: 18, 4: 30, 8: 29, 16: 28, 32: 50})
    assert (found.best, found.ended) == (4, "no gain")
    assert asked == [1, 2, 4, 8, 16]


def test_one_dent_does_not_end_the_search():
    found, _ = search({1: 10, 2: 18, 4: 17, 8: 40, 16: 39, 32: 38})
    assert found.best == 8


def test_a_gain_within_noise_is_none():
    found, _ = search({1: 10, 2: 10.1, 4: 10.15, 8: 99})
    assert (found.best, found.ended) == (1, "no gain")


def test_what_does_not_fit_ends_the_search_and_is_kept():
    found, _ = search({1: 10, 2: 20, 4: 40, 8: None})
    assert (found.best, found.ended) == (4, "memory")
    assert found.trials[-1].model_dump() == {"batch_size": 8, "clips_per_s": None}


def test_a_search_that_its_limit_ended_says_so():
    found, asked = search({1: 10, 2: 20, 4: 40, 8: 80}, limit=8)
    assert (found.best, found.ended) == (8, "limit")
    assert asked == [1, 2, 4, 8]


def test_a_single_clip_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="a single clip does not fit into memory"):
        search({1: None})


def test_another_error_is_not_swallowed():
    def time_batch(size: int) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search_best_batch(time_batch, limit=4, is_out_of_memory=lambda error: False)


def test_the_fastest_run_counts_and_the_first_does_not():
    times = iter([[0.001], [3.0, 2.0, 4.0][:ITERATIONS]])
    assert fastest_seconds(lambda: None, lambda call, iterations: next(times)) == 2.0
