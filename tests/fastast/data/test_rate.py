"""How fast clips are read, from files and from caches."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from layouts import write_bad_esc50, write_esc50
from typer.testing import CliRunner

from fastast.cli import app
from fastast.data.checking.rate import measure_loading
from fastast.data.layouts.esc50 import ESC50
from fastast.data.training_set import DataError


class Slow:
    """Clips of a second that take 20 ms each to read."""

    classes, task = ("a",), "single_label"

    def __init__(self, count: int) -> None:
        self.read: list[int] = []
        self.count = count

    def __len__(self) -> int:
        return self.count

    def clip(self, index: int, epoch: int):
        self.read.append(index)
        time.sleep(0.02)
        return np.zeros(16_000, np.float32), np.ones(1, np.float32)


def test_the_rate_is_that_of_the_reading() -> None:
    data = Slow(100)
    found = measure_loading(data, clips=5)
    assert data.read[2:] == [0, 20, 40, 60, 80]  # behind two that warm up
    assert 10 < found.read <= 50
    assert found.clips == 5
    assert found.audio_seconds == pytest.approx(5.0)
    assert found.together == pytest.approx(1 / (1 / found.read + 1 / found.filterbank))


def test_clips_that_cannot_be_used_are_not_counted(tmp_path: Path) -> None:
    write_bad_esc50(tmp_path)
    data = ESC50(root=str(tmp_path), missing="leave out").split("test")
    found = measure_loading(data, clips=1000)
    assert found.clips + found.skipped == len(data)
    assert found.skipped >= 5
    with pytest.raises(DataError, match="time at least one"):
        measure_loading(data, clips=0)


def test_a_set_and_its_caches_stand_side_by_side(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "esc")
    for kind in ("flac", "fbank"):
        made = ["data", "cache", str(root), "--out", str(tmp_path / kind), "--kind", kind, "--processes", "1", "-q"]
        assert CliRunner().invoke(app, made).exit_code == 0
    folders = [str(root), str(tmp_path / "flac"), str(tmp_path / "fbank")]
    shown = CliRunner().invoke(app, ["data", "rate", *folders, "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.output)
    assert [row["data"] for row in rows] == ["esc50", "cache flac", "cache fbank"]
    assert [row["filterbank"] is None for row in rows] == [False, False, True]
    assert all(row["clips"] == 2 and row["together"] > 0 for row in rows)
    assert rows[2]["audio_seconds"] == pytest.approx(rows[0]["audio_seconds"], rel=0.05)  # frames are 25 ms
    assert "both" in CliRunner().invoke(app, ["data", "rate", *folders]).output
