"""Windows of a file: against the whole file in memory, and in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastast.data.audio import AudioError, AudioReader, load_audio
from fastast.inference import windows
from fastast.inference.windows import SlidingWindows, Windows, hop_samples, slide, trail


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """7.3 s at 22.05 kHz, which is resampled."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(7.3 * 22_050)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", samples, 22_050)
    return tmp_path / "noise.wav"


@pytest.mark.parametrize("in_memory", [600 * 16_000, 16_000])
@pytest.mark.parametrize("samples", [400, 16_000, 40_001, 200_000])
def test_windows_are_spread_over_the_file_and_miss_nothing(
    noise: Path, samples: int, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "IN_MEMORY", in_memory)
    whole = load_audio(noise)
    found = Windows(noise, samples)
    parts = list(found)
    assert len(parts) == len(found) == max(1, -(-len(whole) // samples))
    assert found.seconds == pytest.approx(7.3, abs=1e-3)
    heard = np.zeros(len(whole), bool)
    for start, part in zip(found.starts, parts, strict=True):
        np.testing.assert_array_equal(part, whole[start : start + samples])
        heard[start : start + samples] = True
    assert heard.all()
    assert {len(part) for part in parts} == {min(samples, len(whole))}
    assert len(set(np.diff(found.starts)) or {0}) <= 2  # evenly, but for rounding


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = 12
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(minutes * 60 * 16_000, np.int16), 16_000)
    monkeypatch.setattr(windows, "IN_MEMORY", 60 * 16_000)
    tracemalloc.start()
    count = sum(1 for _ in Windows(path, 5 * 16_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == minutes * 60 // 5
    assert peak < 12e6  # a minute is 3.8 MB, the whole file 46 MB


def test_what_cannot_be_heard_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.ones(399, np.float32) / 2, 16_000)
    with pytest.raises(AudioError, match=r"click.wav: 399 samples at 16 kHz, less than one frame \(400\)"):
        Windows(tmp_path / "click.wav", 16_000)
    soundfile.write(tmp_path / "none.wav", np.empty(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="none.wav"):
        Windows(tmp_path / "none.wav", 16_000)


def test_a_file_that_shrinks_between_two_readings_is_an_error(noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "IN_MEMORY", 16_000)
    found = Windows(noise, 16_000)
    soundfile.write(noise, np.zeros(22_050, np.float32), 22_050)
    with pytest.raises(AudioError, match="changed while it was read"):
        list(found)


def cut(whole: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """A stream in blocks of these sizes, again and again."""
    ends = np.cumsum(np.resize(sizes, len(whole)))
    return np.split(whole, ends[ends < len(whole)])


@pytest.mark.parametrize("sizes", [[1], [7, 3], [64], [1000]])
@pytest.mark.parametrize(
    ("total", "starts"),
    [
        (10, [0]),  # shorter than a window
        (20, [0]),
        (21, [0, 1]),  # the last window ends with the stream
        (36, [0, 8, 16]),
        (37, [0, 8, 16, 17]),
        (52, [0, 8, 16, 24, 32]),
    ],
)
def test_sliding_windows_overlap_and_end_with_the_stream(total: int, starts: list[int], sizes: list[int]) -> None:
    whole = np.arange(total, dtype=np.float32)
    found = list(slide(cut(whole, sizes), 20, 8))
    assert [start for start, _ in found] == starts
    for start, window in found:
        np.testing.assert_array_equal(window, whole[start : start + 20])


def test_no_sound_has_no_window() -> None:
    assert list(slide([], 20, 8)) == list(trail([], 20, 8)) == []


@pytest.mark.parametrize("sizes", [[1], [7, 3], [64]])
@pytest.mark.parametrize("hop", [3, 8, 20])
@pytest.mark.parametrize("total", [2, 8, 19, 47, 60])
def test_trailing_windows_are_what_was_heard_last(total: int, hop: int, sizes: list[int]) -> None:
    whole = np.arange(total, dtype=np.float32)
    found = list(trail(cut(whole, sizes), 20, hop))
    assert [end for end, _ in found] == [*range(hop, total + 1, hop)] + [total] * bool(total % hop)
    for end, window in found:
        np.testing.assert_array_equal(window, whole[max(0, end - 20) : end])


def test_a_file_is_slid_over_once_and_what_cannot_be_heard_is_named(noise: Path, tmp_path: Path) -> None:
    whole, found = load_audio(noise), SlidingWindows(AudioReader(noise), 16_000, 8_000)
    for start, window in found:
        np.testing.assert_array_equal(window, whole[start : start + 16_000])
    assert found.seconds == pytest.approx(7.3, abs=1e-3)
    soundfile.write(tmp_path / "click.wav", np.ones(399, np.float32) / 2, 16_000)
    with pytest.raises(AudioError, match=r"click.wav: 399 samples at 16 kHz, less than one frame \(400\)"):
        list(SlidingWindows(AudioReader(tmp_path / "click.wav"), 16_000, 8_000))
    soundfile.write(tmp_path / "none.wav", np.empty(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="none.wav: .* without a single sample"):
        list(SlidingWindows(AudioReader(tmp_path / "none.wav"), 16_000, 8_000))


def test_memory_of_sliding_windows_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(12 * 60 * 16_000, np.int16), 16_000)
    tracemalloc.start()
    count = sum(1 for _ in SlidingWindows(AudioReader(path), 5 * 16_000, 40_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 12 * 60 / 2.5 - 1
    assert peak < 12e6  # the whole file is 46 MB


def test_a_hop_leaves_nothing_out() -> None:
    assert hop_samples(2.5, 80_000) == 40_000
    for hop in (0.0, -1.0, 5.1, float("inf")):
        with pytest.raises(ValueError, match="allowed: 0.01 to 5 s"):
            hop_samples(hop, 80_000)
