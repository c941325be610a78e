"""The mean over time against one that looks at every moment by itself."""

from __future__ import annotations

import numpy as np
import pytest

from fastast.inference.time_mean import TimeMean

EVENLY = [0.0, 3.0, 6.0, 9.0]
WINDOWS = {
    "one": [0.0],
    "one after another": [0.0, 5.0, 10.0],
    "the last is pulled back": [0.0, 5.0, 5.1],
    "spread evenly": EVENLY,
    "half overlap, and the last pulled back": [0.0, 2.5, 5.0, 7.5, 8.0],
    "many at a time": list(np.arange(0, 20, 0.25)),
}


def of_moments(starts: list[float], rows: np.ndarray, length: float = 5.0) -> np.ndarray:
    moments = np.arange(0, starts[-1] + length, 0.01) + 0.005
    heard = [rows[[s < moment < s + length for s in starts]].mean(axis=0) for moment in moments]
    return np.mean(heard, axis=0)


@pytest.mark.parametrize("windows", WINDOWS)
def test_every_moment_counts_once(windows: str) -> None:
    starts = WINDOWS[windows]
    rows = np.random.default_rng(0).random((len(starts), 3)).astype(np.float32)
    mean = TimeMean()
    for start, row in zip(starts, rows, strict=True):
        mean.add(start, start + 5.0, row)
    np.testing.assert_allclose(mean.mean(), of_moments(starts, rows), atol=1e-3)


def test_two_windows_of_one_length_count_alike_wherever_they_overlap() -> None:
    for second in (5.0, 3.0, 0.1):
        mean = TimeMean()
        mean.add(0.0, 5.0, np.array([0.0]))
        mean.add(second, second + 5.0, np.array([1.0]))
        assert mean.mean() == pytest.approx([0.5])
