"""Sound that comes once, against what libsndfile reads of the same bytes in a file."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from sound_files import encode, recording

from fastast.data.audio import AudioError, AudioWarning, load_audio
from fastast.data.decoding.pcm import PcmStream
from fastast.inference.feed import Feed
from fastast.inference.live import Microphone, PipeReader

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


class Drip:
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self._file, self._size = io.BytesIO(content), size

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._size))


class Unready:
    """A pipe that does not block: nothing is there when it is first asked."""

    def __init__(self, content: bytes) -> None:
        self._file, self._asked = io.BytesIO(content), 0
        self._ready, write = os.pipe()
        os.close(write)  # at its end, a pipe is ready to be read

    def read(self, size: int) -> bytes | None:
        self._asked += 1
        return None if self._asked % 2 else self._file.read(min(size, 1_600))

    def fileno(self) -> int:
        return self._ready


def heard(stream: Any, *arguments: Any, sample_rate: int | None = None, **options: Any) -> np.ndarray:
    blocks = list(PipeReader(stream, *arguments, sample_rate=sample_rate, **options))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def with_size(content: bytes, size: int) -> bytes:
    """A WAV whose header tells of another number of bytes."""
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


@pytest.fixture
def stereo() -> np.ndarray:
    mono = recording(0.5)
    return np.stack([mono, 0.5 * mono[::-1]], axis=1)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    samples = recording(0.5)
    raw = (samples * 32767).astype("<i2").tobytes()
    found = heard(Unready(raw), PcmStream(rate=16_000, encoding="s16le"), live=False)
    assert len(found) == len(samples)


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("drip", [3, 1 << 20])
def test_a_wav_through_a_pipe_is_what_libsndfile_reads(stereo: np.ndarray, subtype: str, drip: int) -> None:
    for kind in ("WAV", "WAVEX", "RF64"):
        if kind == "RF64" and subtype == "PCM_U8":
            continue
        content = encode(stereo, 16_000, kind, subtype)
        samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = heard(Drip(content, drip), channels="first")
        np.testing.assert_array_equal(found, samples[:, 0], err_msg=kind)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_a_length_that_nobody_knew_is_the_end_of_the_pipe(stereo: np.ndarray, size: int) -> None:
    content = with_size(encode(stereo, 16_000, "WAV", "PCM_16"), size)
    assert len(heard(io.BytesIO(content))) == len(stereo)


def test_what_stands_before_and_behind_the_samples_is_no_sound(stereo: np.ndarray) -> None:
    content = encode(stereo, 16_000, "WAV", "PCM_16")
    at = content.index(b"data")
    odd = b"LIST" + struct.pack("<I", 5) + b"noise" + b"\0"  # chunks are padded to even lengths
    assert len(heard(Drip(content[:at] + odd + content[at:] + odd, 5))) == len(stereo)


def test_it_is_resampled_and_averaged_as_a_file_is(tmp_path: Path, stereo: np.ndarray) -> None:
    content = encode(stereo, 44_100, "WAV", "PCM_16")
    (tmp_path / "stereo.wav").write_bytes(content)
    np.testing.assert_array_equal(heard(Drip(content, 4_099), sample_rate=16_000), load_audio(tmp_path / "stereo.wav"))


@pytest.mark.parametrize(
    ("encoding", "subtype"), [("u8", "PCM_U8"), ("s16le", "PCM_16"), ("s24le", "PCM_24"), ("f32le", "FLOAT")]
)
def test_samples_without_a_header_are_what_they_are_said_to_be(stereo: np.ndarray, encoding: str, subtype: str) -> None:
    content = encode(stereo, 48_000, "WAV", subtype)
    at = content.index(b"data")
    (size,) = struct.unpack("<I", content[at + 4 : at + 8])
    raw = content[at + 8 : at + 8 + size]
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    found = heard(Drip(raw, 1_001), PcmStream(rate=48_000, encoding=encoding, channels=2), channels="first")
    np.testing.assert_array_equal(found, samples[:, 0])


def test_an_end_in_the_middle_of_a_sample_is_told_and_the_rest_is_heard() -> None:
    content = with_size(encode(recording(0.5), 16_000, "WAV", "PCM_16"), 0xFFFF_FFFF)
    with pytest.warns(
        AudioWarning, match=r"-: the stream is cut off: it ended in the middle of a sample \(1 byte left out"
    ):
        assert len(heard(io.BytesIO(content + b"\1"))) == 8_000


def test_an_end_before_the_one_in_the_header_is_told() -> None:
    content = encode(recording(0.5), 16_000, "WAV", "PCM_16")
    with pytest.warns(AudioWarning, match=r"ended after 0.38 s, but its header says 0.50 s. What came before that was"):
        assert len(heard(io.BytesIO(content[:-4_000]))) == 6_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "-: the stream ended before a single byte came"),
        (b"RIFF\0\0\0\0WAVEfmt ", "ended within its header"),
        (encode(recording(0.1), 16_000, "WAV", "PCM_16")[:30], "ended within its header"),
        (encode(recording(0.1), 16_000, "OGG", "VORBIS"), "with the bytes b'OggS.* not a WAV.* --rate, --format"),
        (encode(recording(0.1), 16_000, "WAV", "ULAW"), "0x0007 with 8 bits"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "samples come before their format"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff", "claims 4,294,967,295 bytes"),
        (with_size(encode(np.full(9, np.nan, np.float32), 16_000, "WAV", "FLOAT"), 0), "NaN"),
    ],
)
def test_what_is_no_stream_of_sound_is_named(content: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        heard(io.BytesIO(content))


def test_a_description_of_samples_is_checked() -> None:
    for options, message in (
        ({"rate": 16_000, "encoding": "s16"}, "Did you mean 's16le'"),
        ({"rate": 16_000, "channels": 0}, "channels is 0"),
        ({"rate": 5}, "5 samples per second"),
    ):
        with pytest.raises(ValueError, match=message):
            PcmStream(**options)  # type: ignore[arg-type]


def test_a_pipe_that_stalls_is_waited_for_and_its_time_is_noted() -> None:
    samples = recording(0.4)
    content = with_size(encode(samples, 16_000, "WAV", "PCM_16"), 0xFFFF_FFFF)
    half = len(content) // 2 + 1  # in the middle of a sample
    read, write = os.pipe()

    def speak() -> None:
        with os.fdopen(write, "wb", buffering=0) as pipe:
            pipe.write(content[:half])
            time.sleep(0.3)
            pipe.write(content[half:])

    threading.Thread(target=speak).start()
    with os.fdopen(read, "rb", buffering=0) as pipe:
        reader = PipeReader(pipe, live=True, sample_rate=None)
        found = np.concatenate(list(reader))
    np.testing.assert_allclose(found, samples, atol=1 / 32_768)
    assert reader.feed is not None
    first, last = reader.feed.came(0.05), reader.feed.came(0.4)
    assert 0.25 < last - first < 5
    assert reader.feed.waiting == 0


@pytest.mark.parametrize("behind", [b"", b"LIST\4\0\0\0INFO", b"\1\2" * 50], ids=["nothing", "a chunk", "sound"])
def test_a_whole_wav_is_heard_though_who_wrote_it_keeps_the_pipe_open(behind: bytes) -> None:
    """What stands behind the samples is told of where it is no chunk."""
    samples = recording(0.5)
    content = encode(samples, 16_000, "WAV", "PCM_16") + behind
    assert len(content) < 1 << 16, "a pipe takes as much without a reader"
    read, write = os.pipe()
    found: list[np.ndarray] = []
    with os.fdopen(read, "rb", buffering=0) as pipe, os.fdopen(write, "wb", buffering=0) as sender:
        sender.write(content)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            listener = threading.Thread(target=lambda: found.append(heard(pipe)), daemon=True)
            listener.start()
            listener.join(10)
            waiting = listener.is_alive()
            sender.close()
            listener.join(10)
    assert not waiting
    np.testing.assert_allclose(found[0], samples, atol=1 / 32_768)
    told = [str(one.message) for one in said if issubclass(one.category, AudioWarning)]
    assert [text.startswith("-: bytes came after the end that its header states") for text in told] == [
        True for _ in behind[2:3] if behind[:1] == b"\1"
    ]


def test_blocks_come_as_soon_as_they_are_there() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as pipe, os.fdopen(write, "wb", buffering=0) as sender:
        blocks = iter(PipeReader(pipe, PcmStream(rate=16_000), live=True))
        for value in (100, 200):
            sender.write(np.full(160, value, "<i2").tobytes())
            np.testing.assert_array_equal(next(blocks), np.full(160, value / 32_768, np.float32))


def test_a_fault_on_the_other_thread_is_raised_on_this_one() -> None:
    def blocks() -> Any:
        yield np.zeros((3, 1), np.float32)
        raise AudioError("the cable fell out")

    feed = iter(Feed.of(blocks(), 16_000, limit=2))
    assert len(next(feed)) == 3
    with pytest.raises(AudioError, match="the cable fell out"):
        next(feed)


class FakePortAudioError(Exception):
    """What the library raises."""


def fake_library(devices: list[dict[str, Any]], blocks: list[np.ndarray], overflow: bool = False) -> SimpleNamespace:
    """sounddevice on a machine with these devices, whose input hears these blocks and then stops."""

    class InputStream:
        def __init__(self, *, callback: Any, finished_callback: Any, samplerate: int, **options: Any) -> None:
            self.callback, self.finished = callback, finished_callback
            assert options["channels"] == 1
            assert samplerate == devices[0]["default_samplerate"]

        def __enter__(self) -> InputStream:
            for block in blocks:
                self.callback(block, len(block), None, SimpleNamespace(input_overflow=overflow))
            self.finished()
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def query_devices(device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return devices
        found = [one for number, one in enumerate(devices) if device in (None, number) or str(device) in one["name"]]
        if not found:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]

    return SimpleNamespace(query_devices=query_devices, InputStream=InputStream, PortAudioError=FakePortAudioError)


def test_a_microphone_is_heard_block_by_block_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [{"name": "USB microphone", "default_samplerate": 16_000.0, "max_input_channels": 1}]
    spoken = [np.full((1_600, 1), value, np.float32) for value in (0.1, 0.2)]
    monkeypatch.setitem(sys.modules, "sounddevice", fake_library(devices, spoken, overflow=True))
    reader = Microphone("USB")
    blocks = iter(reader)
    np.testing.assert_array_equal(
        np.concatenate([next(blocks), next(blocks)]), np.repeat(np.float32([0.1, 0.2]), 1_600)
    )
    assert reader.lost == 2
    with pytest.raises(AudioError, match="microphone USB microphone: the device stopped"):
        next(blocks)


def test_a_microphone_that_is_not_there_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [{"name": "USB microphone", "default_samplerate": 16_000.0, "max_input_channels": 1}]
    monkeypatch.setitem(sys.modules, "sounddevice", fake_library(devices, []))
    with pytest.raises(AudioError, match=r"microphone: webcam: .*Available inputs: 0 \(USB microphone\)"):
        Microphone("webcam")
    monkeypatch.setitem(sys.modules, "sounddevice", fake_library([], []))
    with pytest.raises(AudioError, match="microphone: none: .*Available inputs: none"):
        Microphone()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"pip install 'fastast\[microphone\]'"):
        Microphone()
