"""What passed `--dry-run` and failed later is refused before anything runs, with the key and what is allowed."""

from __future__ import annotations

import psutil
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.sweep.machine_limits import least_bytes
from fastast.geometry import Geometry
from fastast.system.processors import most_threads


def refused(*settings: str) -> str:
    options = [word for setting in settings for word in ("-s", setting)]
    shown = CliRunner().invoke(app, ["run", "default", "--dry-run", *options])
    assert shown.exit_code == 2, shown.output
    (line,) = shown.output.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("data.seconds=0.001", "data: seconds is 0.001; it must be a number from 2 to 60"),
        ("data.clips=100000000", "data: test_clips is 100000000; it must be a whole number from 1 to 100,000"),
        ("grid.batch_size=[1, 100000000000000]", "grid.batch_size.1: 100,000,000,000,000 clips take"),
        ("model.frames=100000000", "model.frames: 100,000,000 frames take"),
        ("measure.threads=100000", "measure.threads: 100000 threads would wait for each other"),
    ],
)
def test_what_no_machine_can_do_is_refused(setting, told):
    assert told in refused(setting)


def test_what_is_allowed_is_told_and_passes():
    line = refused("grid.batch_size=[100000000000000]")
    most = int(line.rpartition("give at most ")[2].replace(",", ""))
    shown = CliRunner().invoke(app, ["run", "default", "--dry-run", "-s", f"grid.batch_size=[{most}]"])
    assert shown.exit_code == 0, shown.output
    assert f"grid.batch_size.0: {most + 1:,} clips" in refused(f"grid.batch_size=[{most + 1}]")
    assert f"let this process run {most_threads()} at once" in refused("measure.threads=100000")


def test_the_bound_counts_the_filterbank_and_four_tensors_of_tokens():
    geometry = Geometry(
        embed_dim=32, depth=3, num_heads=2, num_classes=5, num_mel_bins=48, num_frames=176, fstride=10, tstride=10
    )
    numbers = 176 * 48 + 4 * 70 * 32  # 70 tokens: 4 x 17 patches and 2
    assert (least_bytes(geometry, "float32"), least_bytes(geometry, "bfloat16")) == (4 * numbers, 2 * numbers)
    assert least_bytes(geometry, "float32") < psutil.virtual_memory().total


def test_an_engine_that_is_not_installed_is_told_before_anything_runs(monkeypatch):
    monkeypatch.setattr("fastast.exporting.errors.find_spec", lambda package: None)
    line = refused("grid.engine=['plain', 'openvino']", "grid.device=['cpu']")
    assert "grid.engine.1: the runtime openvino needs the package openvino" in line
    assert line.endswith("pip install 'fastast[openvino]'")
