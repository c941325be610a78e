"""Audio files of every format, sound and broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fastast.data.audio import AudioError, load_audio
from fastast.data.decoding import media

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def tone(rate: int, seconds: float = 2.0, hz: float = 440.0, amplitude: float = 0.5) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], rate: int) -> Path:
    kind, subtype = FORMATS[path.suffix[1:]]
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    return path


def peak_hz(samples: NDArray[np.float32], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_every_format_gives_its_tone_at_16_khz(tmp_path: Path, extension: str, rate: int) -> None:
    samples = load_audio(write(tmp_path / f"a.{extension}", tone(rate), rate))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == 32_000
    assert peak_hz(samples, 16_000) == pytest.approx(440, abs=1)
    middle = samples[8000:-8000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_lossless_files_keep_every_sample(tmp_path: Path, extension: str) -> None:
    numbers = np.random.default_rng(0).integers(-32768, 32767, 5000).astype(np.int16)
    soundfile.write(tmp_path / f"a.{extension}", numbers, 16_000, subtype="PCM_16")
    samples = load_audio(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(samples, numbers / np.float32(32768))


def test_resampling_keeps_the_band_and_removes_what_would_alias(tmp_path: Path) -> None:
    rate = 44_100
    both = tone(rate, hz=3000, amplitude=0.25) + tone(rate, hz=11_000, amplitude=0.25)
    samples = load_audio(write(tmp_path / "a.wav", both, rate))
    expected = tone(16_000, hz=3000, amplitude=0.25)
    assert len(samples) == len(expected)
    # 11 kHz would fold to 5 kHz; what is left is the 3 kHz tone, in phase (16 bits: 1.5e-5 a sample).
    np.testing.assert_allclose(samples[500:-500], expected[500:-500], atol=2e-4)


def test_another_rate_can_be_asked_for(tmp_path: Path) -> None:
    samples = load_audio(write(tmp_path / "a.wav", tone(16_000), 16_000), sample_rate=32_000)
    assert len(samples) == 64_000
    assert peak_hz(samples, 32_000) == pytest.approx(440, abs=1)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(16_000, hz=300, amplitude=0.8), tone(16_000, hz=900, amplitude=0.2)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([left, right], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path), (left + right) / 2, atol=1e-7)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    flac = write(tmp_path / "a.flac", tone(16_000), 16_000)
    np.testing.assert_array_equal(load_audio(flac.rename(tmp_path / "b.wav")), load_audio(tmp_path / "b.wav"))
    assert len(load_audio(tmp_path / "b.wav")) == 32_000


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, extension: str, share: float) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    path = write(tmp_path / f"a.{extension}", noise, 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AudioError, match=rf"a\.{extension}.*cut off"):
        load_audio(path)


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(16_000), 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data")
    content[4:8] = content[at + 4 : at + 8] = struct.pack("<I", 0xFFFFFFFF)  # as ffmpeg writes to a pipe
    path.write_bytes(content)
    assert len(load_audio(path)) == 32_000


BROKEN = {
    "empty.wav": (b"", "empty"),
    "letter.mp3": (b"Dear listener,\nthis is text.\n", "text"),
    "pointer.flac": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "page.ogg": (b"<!DOCTYPE html><html></html>", "web page"),
    "talk.m4a": (b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00" + bytes(200), "m4a.*ffmpeg"),
    "picture.wav": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
    "noise.opus": (bytes(range(128, 256)) * 4, "not an audio format"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_something_else_is_named_with_what_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "is_installed", lambda: False)
    content, says = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=rf"(?s){name}.*{says}"):
        load_audio(tmp_path / name)


def test_what_is_called_mp3_and_is_none_makes_no_decoder_print(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name, content in (("page.mp3", b"<html>" + b"x" * 4000), ("zeros.mp3", bytes(4000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=name):
            load_audio(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_refusal_lists_the_formats_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match="wav, flac, ogg .*opus and mp3"):
        load_audio(tmp_path / "a.bin")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="folder"):
        load_audio(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.wav: there is no such file"):
        load_audio(tmp_path / "nothing.wav")


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="without a single sample"):
        load_audio(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    samples = tone(16_000)
    samples[100] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        load_audio(tmp_path / "a.wav")


def test_importing_the_module_does_not_import_decoders() -> None:
    import subprocess
    import sys

    code = "import sys, fastast.data.audio; print(sorted({'soundfile', 'soxr', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
