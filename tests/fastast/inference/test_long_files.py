"""Files of hours and pipes on the command line: events where they are, in memory that does not grow."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_weights import save_small_weights
from typer.testing import CliRunner

from fastast import load_audio
from fastast.checkpoints import save_checkpoint
from fastast.cli import app
from fastast.frontend import Normalisation
from fastast.inference.events import EventRule
from fastast.inference.prediction import Prediction
from fastast.inference.predictor import Predictor
from fastast.zoo import create_model

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "fastast/assets/examples/bird_and_water.ogg"
MODEL = "ast_tiny_soundscapes"
WINDOW = 511 * 160 + 400
"""Samples of its input."""


def run(*arguments: object, code: int = 0, given: bytes | None = None) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """20 s of hiss, the scene, and 10 s of hiss."""
    scene, random = load_audio(EXAMPLE), np.random.default_rng(0)
    hiss = [random.normal(0, 1e-3, seconds * 16_000).astype(np.float32) for seconds in (20, 10)]
    soundfile.write(tmp_path / "late.wav", np.concatenate([hiss[0], scene, hiss[1]]), 16_000, "FLOAT")
    return tmp_path / "late.wav"


def scores_at(predictor: Predictor, whole: np.ndarray, starts: list[int]) -> np.ndarray:
    """One window after the other through the front end and the model, (windows, classes)."""
    with torch.inference_mode():
        rows = [predictor.model(predictor.frontend(torch.from_numpy(whole[None, s : s + WINDOW]))) for s in starts]
    return torch.cat(rows).sigmoid().numpy()


def test_events_lie_where_the_scores_of_their_windows_say(late: Path, tmp_path: Path) -> None:
    predictor = Predictor(save_small_weights(tmp_path / "ast.safetensors"), device="cpu")
    rule = EventRule(threshold=0.4, merge=False)
    (found,) = predictor.predict([late], events=rule, hop=2.0)
    assert isinstance(found, Prediction)
    whole = load_audio(late)
    starts = [*range(0, len(whole) - WINDOW, 32_000), len(whole) - WINDOW]
    scores = scores_at(predictor, whole, starts)
    expected = {
        (starts[window] / 16_000, predictor.labels[label]): scores[window, label]
        for window, label in zip(*np.nonzero(scores >= 0.4), strict=True)
    }
    assert found.num_windows == len(starts)
    assert {(event.start, event.label): event.score for event in found.events} == pytest.approx(expected, abs=1e-4)
    assert [event.end - event.start for event in found.events] == pytest.approx([WINDOW / 16_000] * len(expected))
    assert len({event.label for event in found.events}) > 1
    covered = np.zeros((len(starts), len(whole)), np.float32)
    for row, start in enumerate(starts):
        covered[row, start : start + WINDOW] = 1
    shares = (covered / covered.sum(0)).mean(1)  # every sample counts once
    np.testing.assert_allclose(found.scores, shares @ scores, atol=1e-5)


def test_the_command_finds_the_bird_where_it_sings(late: Path, tmp_path: Path) -> None:
    asked = ("--threshold", "0.3", "--schedule", "constant:40", "--device", "cpu")
    run("predict", late, "--events", tmp_path / "events.csv", *asked)
    with (tmp_path / "events.csv").open(newline="") as file:
        birds = [row for row in csv.DictReader(file) if row["label"] == "Bird song"]
    assert len(birds) == 1  # of windows that overlap by half
    assert birds[0]["file"] == str(late)
    assert 14 < float(birds[0]["start"]) <= 20
    assert 25 <= float(birds[0]["end"]) < 31


def test_several_files_share_a_table(late: Path, tmp_path: Path) -> None:
    weights = save_small_weights(tmp_path / "ast.safetensors")
    asked = ("-m", weights, "--events", tmp_path / "all", "--events-format", "jsonl", "--threshold", "0", "--json")
    said = run("predict", EXAMPLE, late, *asked)
    rows = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    # Every label scores 0 or more all the time.
    assert [(row["file"], row["start"], row["end"]) for row in rows] == [(str(EXAMPLE), 0, 5)] * 4 + [
        (str(late), 0, 35)
    ] * 4
    assert [json.loads(line)["file"] for line in said.splitlines()] == [str(EXAMPLE), str(late)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gap", "1"), "--gap applies to events, and none were requested; give --events FILE too"),
        (("--no-merge",), "--no-merge applies to events"),
        (("--events", "a.xlsx"), "a.xlsx: the file name does not say"),
        (("--events", "a.csv", "--threshold", "2"), "threshold is 2.0"),
        (("--events", "a.txt", "other.wav"), "belongs to one file"),
        (("--hop", "6"), "hop is 6 s; allowed: 0.01 to 5.135 s"),
        (("--rate", "16000"), "give - in place of a file"),
        (("--format", "s16le"), "give --rate"),
        (("-", "-"), "give it once"),
        (("-", "--draw", "pictures"), "a pipe is gone"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_read(arguments: tuple[str, ...], message: str) -> None:
    out = run("predict", "gone.wav", *arguments, code=1, given=b"")
    assert message in out
    assert "gone.wav" not in out


def test_a_file_that_cannot_be_read_costs_its_own_events_only(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no sound")
    run("predict", tmp_path / "text.wav", EXAMPLE, "--events", tmp_path / "events.jsonl", code=1)
    rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {row["file"] for row in rows} == {str(EXAMPLE)}


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, samples, rate, "PCM_16", format="WAV")
    return target.getvalue()


def top(text: str) -> dict[str, float]:
    return {label["label"]: label["score"] for label in json.loads(text.splitlines()[0])["labels"]}


def test_a_pipe_is_heard_as_the_file_is(tmp_path: Path) -> None:
    scene = load_audio(EXAMPLE)
    content = wav(scene)
    (tmp_path / "scene.wav").write_bytes(content)
    expected = top(run("predict", tmp_path / "scene.wav", "--json"))
    assert top(run("predict", "-", "--json", given=content)) == pytest.approx(expected, abs=1e-5)
    raw = content[content.index(b"data") + 8 :]
    asked = ("predict", "-", "--json", "--rate", "16000", "--format", "s16le", "--channels", "1")
    assert top(run(*asked, given=raw)) == pytest.approx(expected, abs=1e-5)


def test_a_pipe_that_ends_too_soon_is_told_in_a_line(tmp_path: Path) -> None:
    content = wav(load_audio(EXAMPLE))
    said = CliRunner().invoke(app, ["predict", "-", "--json"], input=content[:-1])
    assert said.exit_code == 0
    assert said.stderr.startswith("fastast: -: the stream is cut off: it ended after 5.00 s, ")
    assert "in the middle of a sample (1 byte left out)" in said.stderr
    assert said.stderr.count("\n") == 1
    assert json.loads(said.stdout)["file"] == "-"


@pytest.mark.slow
def test_a_pipe_that_stalls_and_goes_on_is_heard_to_its_end() -> None:
    content = wav(np.concatenate([load_audio(EXAMPLE)] * 3))
    command = [sys.executable, "-m", "fastast.cli", "predict", "-", "--json", "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdin is not None

    def speak() -> None:
        for at in range(0, len(content), 200_001):
            process.stdin.write(content[at : at + 200_001])  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            time.sleep(0.2)
        process.stdin.close()  # type: ignore[union-attr]

    speaker = threading.Thread(target=speak)
    speaker.start()
    assert process.stdout is not None
    with process.stdout:
        found = json.loads(process.stdout.read())
    speaker.join()
    assert process.wait() == 0
    assert (found["seconds"], found["windows"]) == (15.0, 3)


MEASURE = """
import re, sys
from pathlib import Path
from fastast.inference.events import EventRule
from fastast.inference.predictor import Predictor
predictor = Predictor(sys.argv[1], device="cpu")
before = 0
for path in sys.argv[2:]:
    (found,) = predictor.predict([Path(path)], events=EventRule(threshold=0.0), hop=10.0)
    # Not ru_maxrss, in which a process has that of whoever started it.
    after = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
    print(found.num_windows, round(found.seconds), after, after - before)
    before = after
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.parametrize(("form", "rate", "channels"), [("WAV", 44_100, 2), ("FLAC", 16_000, 1)])
def test_three_hours_take_no_more_memory_than_ten_minutes(tmp_path: Path, form: str, rate: int, channels: int) -> None:
    model = create_model("ast_tiny", embed_dim=16, depth=1, num_heads=1, num_classes=3, fstride=16, tstride=16)
    weights = save_checkpoint(
        tmp_path / "ast.safetensors", model, labels=("a", "b", "c"), normalisation=Normalisation(mean=-6.0, std=5.0)
    )
    minute = np.random.default_rng(0).normal(0, 0.1, (60 * rate, channels)).astype(np.float32)
    for minutes, name in ((10, "short"), (180, "long")):
        with soundfile.SoundFile(tmp_path / name, "w", rate, channels, "PCM_16", format=form) as file:
            for _ in range(minutes):
                file.write(minute)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(weights), str(tmp_path / "short"), str(tmp_path / "long")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    short, long = (list(map(int, line.split())) for line in done.stdout.splitlines())
    assert short[1] == 600
    assert long[:2] == [1_080, 3 * 3_600]  # one every 10 s
    assert long[2] < 1.5e6  # KiB, PyTorch included
    assert long[3] < 100e3  # at 16 kHz the whole of it is 691 MB
