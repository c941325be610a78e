"""Published answers of `fastast tune` as tables, from a file of its form."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.frame import ReportError
from bench.tuning.published import render_tunings, tuning_frame, tuning_path

ANSWER = """
[reduction]
method = "tome"
schedule = "list:3,2,1"

[tuning]
model = "ast_tiny_soundscapes"
method = { method = "tome" }
target = { speedup = 1.5 }
split = "val"
batch_size = 8
device = "cpu, 2 threads"
meets = true
metric = "mAP"
calibration_clips = 500
held_out_clips = 2000

[measured.unmerged]
schedule = "list:0,0,0"
clips_per_second = [20.0, 19.0, 21.0]
speedup = [1.0, 1.0, 1.0]
metric = [0.49, 0.48, 0.5]
loss = [0.0, 0.0, 0.0]

[measured.tuned]
schedule = "list:3,2,1"
clips_per_second = [30.0, 29.0, 31.0]
speedup = [1.5, 1.45, 1.55]
metric = [0.488, 0.478, 0.498]
loss = [0.002, 0.001, 0.003]

[measured.constant]
schedule = "list:2,2,2"
clips_per_second = [29.8, 28.0, 31.0]
speedup = [1.49, 1.44, 1.54]
metric = [0.486, 0.476, 0.496]
loss = [0.004, 0.003, 0.005]
gain = [0.002, 0.0005, 0.0035]
time = [0.993, 0.98, 1.006]
"""


def publish(results: Path, name: str = "at_1_5", text: str = ANSWER) -> Path:
    path = tuning_path(results, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_row_per_schedule_with_its_intervals(tmp_path: Path) -> None:
    publish(tmp_path)
    frame = tuning_frame(tmp_path, "at_1_5").set_index("name")
    assert list(frame.index) == ["unmerged", "tuned", "constant"]
    constant = frame.loc["constant"]
    assert (constant["gain"], constant["gain_low"], constant["gain_high"]) == (0.002, 0.0005, 0.0035)
    assert frame.loc["tuned", ["gain", "gain_low"]].isna().all()
    assert frame.loc["tuned", "speedup"] == 1.5


def test_a_page_has_a_table_per_answer(tmp_path: Path) -> None:
    assert render_tunings(tmp_path / "results", tmp_path / "out") is None
    publish(tmp_path / "results")
    publish(tmp_path / "results", "live", ANSWER.replace("meets = true", "meets = false"))
    path = render_tunings(tmp_path / "results", tmp_path / "out")
    assert path is not None
    said = path.read_text()
    assert said.index("## at_1_5") < said.index("## live")
    assert said.count("The target is not met") == 1
    assert "1.5 times as fast as the model unmerged" in said
    assert "+0.0020 [+0.0005, +0.0035]" in said
    assert "`list:3,2,1`" in said
    assert said.count("The tuned schedule is better than the best constant one.") == 2
    publish(tmp_path / "results", "live", ANSWER.replace("[0.002, 0.0005, 0.0035]", "[0.002, -0.0005, 0.0045]"))
    said = render_tunings(tmp_path / "results", tmp_path / "out").read_text()  # type: ignore[union-attr]
    assert "2000 clips tell differences of about 0.0025, and theirs is not clearly larger" in said
    for gain, better in (("[0.002, 0.00004, 0.004]", 0), ("[0.002, 0.00006, 0.004]", 1)):  # an end of 0.0000, of 0.0001
        publish(tmp_path / "results", "live", ANSWER.replace("[0.002, 0.0005, 0.0035]", gain))
        said = render_tunings(tmp_path / "results", tmp_path / "out").read_text()  # type: ignore[union-attr]
        assert said.count("is better than the best constant one") == 1 + better  # and the other answer


def test_what_is_no_answer_is_named(tmp_path: Path) -> None:
    path = publish(tmp_path, text="[reduction]\nschedule = 'constant:4'\n")
    with pytest.raises(ReportError, match=f"{path}: this is not an answer of `fastast tune`"):
        tuning_frame(tmp_path, "at_1_5")
    with pytest.raises(ReportError, match="this is not an answer"):
        tuning_frame(tmp_path, "elsewhere")
