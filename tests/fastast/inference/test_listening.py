"""A stream while it comes: the labels of what was heard last, and how late they are."""

from __future__ import annotations

import io
import json
import os
import signal
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
from fastast.cli import app
from fastast.data.audio import AudioError
from fastast.data.decoding.pcm import PcmStream
from fastast.inference.feed import Feed
from fastast.inference.listening import Listening, listen
from fastast.inference.live import LiveReader, PipeReader
from fastast.inference.predictor import Predictor

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "fastast/assets/examples/bird_and_water.ogg"
WINDOW = 511 * 160 + 400
"""Samples of its input."""


def raw(samples: np.ndarray) -> bytes:
    return samples.astype("<f4").tobytes()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    weights = save_small_weights(tmp_path_factory.mktemp("weights") / "ast.safetensors")
    return Predictor(weights, device="cpu", batch_size=1)


def test_every_hop_the_last_window_is_scored(predictor: Predictor) -> None:
    samples = np.resize(load_audio(EXAMPLE), int(7.3 * 16_000))
    reader = PipeReader(io.BytesIO(raw(samples)), PcmStream(rate=16_000, encoding="f32le"), live=True)
    listening = Listening(hop=2.0)
    found = list(listen(predictor, reader, listening))
    assert [round(heard.end, 4) for heard in found] == [2.0, 4.0, 6.0, 7.3]
    for heard in found:
        end = round(heard.end * 16_000)
        window = torch.from_numpy(samples[max(0, end - WINDOW) : end])
        with torch.inference_mode():
            expected = predictor.model(predictor.frontend([window])).sigmoid()[0]
        np.testing.assert_allclose(heard.scores, expected, atol=1e-5)
        assert heard.start == pytest.approx(max(0, end - WINDOW) / 16_000)
        assert 0 < heard.delay < 60
    assert len(listening.delays) == len(listening.seconds) == 4
    assert listening.real_time_factor == pytest.approx(np.mean(listening.seconds) / 2)
    assert listening.describe().startswith("4 windows, one every 2 s; labels ")


def test_a_delay_is_that_of_the_model_and_not_of_the_pipe(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipe stalls for 1.5 s; the model takes 0.1 s, whatever it really takes."""

    def slow(windows: list[np.ndarray], frames: int) -> np.ndarray:
        time.sleep(0.1)
        return np.zeros((len(windows), len(predictor.labels)), np.float32)

    monkeypatch.setattr(predictor, "logits", slow)
    samples = np.zeros(32_000, np.float32)
    read, write = os.pipe()

    def speak() -> None:
        with os.fdopen(write, "wb", buffering=0) as pipe:
            pipe.write(raw(samples[:8_000]))
            time.sleep(1.5)
            pipe.write(raw(samples[8_000:]))

    threading.Thread(target=speak).start()
    with os.fdopen(read, "rb", buffering=0) as pipe:
        reader = PipeReader(pipe, PcmStream(rate=16_000, encoding="f32le"), live=True)
        found = list(listen(predictor, reader, Listening(hop=1.0)))
    assert [heard.end for heard in found] == [1.0, 2.0]
    assert 0.1 <= found[0].delay < 1.2
    assert 0.2 <= found[1].delay < 1.4  # it came with the first second, and waited for it


class FastSpeaker(LiveReader):
    """A microphone that heard 5 s while nobody listened."""

    def __init__(self) -> None:
        super().__init__("microphone")
        self.feed = Feed(16_000)
        for _ in range(50):
            self.feed.put(np.zeros((1_600, 1), np.float32))
        self.feed.end()

    def __iter__(self):
        self.facts.samples = 80_000
        for block in self.feed:
            yield block[:, 0]


def test_a_microphone_that_is_ahead_has_windows_skipped_and_counted(predictor: Predictor) -> None:
    listening = Listening(hop=1.0)
    found = list(listen(predictor, FastSpeaker(), listening, skip=True))
    assert [heard.end for heard in found] == [5.0]
    assert listening.skipped == 4
    assert "4 windows skipped, the model fell behind: give a longer --hop" in listening.describe()
    assert len(list(listen(predictor, FastSpeaker(), Listening(hop=1.0)))) == 5


def test_what_cannot_be_heard_is_named(predictor: Predictor) -> None:
    def heard(content: bytes, hop: float = 1.0) -> None:
        stream = PcmStream(rate=16_000, encoding="f32le")
        list(listen(predictor, PipeReader(io.BytesIO(content), stream, live=True), Listening(hop=hop)))

    with pytest.raises(AudioError, match="-: .* without a single sample"):
        heard(b"")
    with pytest.raises(AudioError, match="-: 300 samples at 16 kHz, less than one frame"):
        heard(raw(np.zeros(300)))
    with pytest.raises(ValueError, match="hop is 6 s"):
        heard(b"", hop=6)
    assert Listening(hop=1.0).describe() == "nothing was heard"


def test_windows_that_are_shorter_than_a_frame_are_waited_out(predictor: Predictor) -> None:
    stream = PcmStream(rate=16_000, encoding="f32le")
    reader = PipeReader(io.BytesIO(raw(np.zeros(800))), stream, live=True)
    found = list(listen(predictor, reader, Listening(hop=0.01)))  # 160 samples, where a frame has 400
    assert [round(heard.end, 3) for heard in found] == [0.03, 0.04, 0.05]


def scene() -> bytes:
    target = io.BytesIO()
    soundfile.write(target, load_audio(EXAMPLE), 16_000, "PCM_16", format="WAV")
    return target.getvalue()


def test_the_command_prints_labels_with_their_delay() -> None:
    asked = ["listen", "-", "--hop", "2", "--threshold", "0.5", "--schedule", "constant:40"]
    shown = CliRunner().invoke(app, asked, input=scene())
    assert shown.exit_code == 0, shown.output
    head, *lines = shown.stdout.splitlines()
    assert "602 tokens merged to 122" in head
    assert [line.split()[0] for line in lines] == ["2.00", "4.00", "5.00"]
    assert "Water 0." in lines[-1]
    assert all("ms behind)" in line for line in lines)
    assert "3 windows, one every 2 s; labels " in shown.stderr
    shown = CliRunner().invoke(app, [*asked, "--json", "--top", "1"], input=scene())
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 2), (0, 4), (0, 5)]
    assert all(row["delay"] > 0 and len(row["labels"]) <= 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", "--microphone", "USB"), "give one of the two"),
        (("--rate", "16000"), "give - for one"),
        (("-", "--hop", "6"), "hop is 6 s"),
        ((), "pip install 'fastast[microphone]'"),
    ],
)
def test_what_cannot_be_listened_to_is_said(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    shown = CliRunner().invoke(app, ["listen", *arguments], input=b"")
    assert shown.exit_code == 1
    assert message in shown.stderr


@pytest.mark.slow
def test_it_ends_with_an_interrupt_and_says_what_it_cost() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fastast.cli", "listen", "-", "--hop", "0.5", "--rate", "16000", "--device", "cpu"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(bytes(2 * 16_000))
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(3)]  # the model, 0.5 s, 1 s; and the pipe stays open
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert b"1.00 s" in lines[2]
    assert b"2 windows, one every 0.5 s" in process.stderr.read()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
