"""Windows of a file: against the whole file in memory, and in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastast import windows
from fastast.data.audio import AudioError, load_audio
from fastast.windows import Windows


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
