"""Headers that tell of more or of less than there is: what is cut off is refused, what goes on is told of."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from sound_files import encode, recording

from fastast.data.audio import AudioError, AudioWarning, load_audio
from fastast.data.decoding.pcm import PcmStream
from fastast.inference.live import PipeReader

HELD = {
    "WAV": "PCM_16", "WAVEX": "PCM_24", "AIFF": "PCM_16", "RF64": "PCM_24", "W64": "PCM_16", "CAF": "PCM_16",
    "AU": "PCM_16", "VOC": "PCM_16", "NIST": "PCM_16", "SVX": "PCM_16", "AVR": "PCM_16", "MAT4": "PCM_16",
    "MAT5": "PCM_16", "MPC2K": "PCM_16", "HTK": "PCM_16",
}  # fmt: skip
"""Formats whose header tells of a length."""
SOUND = recording(0.5)


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("share", [0.99, 0.6, 0.3])
def test_what_is_cut_off_is_refused_whatever_it_is(tmp_path: Path, kind: str, share: float) -> None:
    content = encode(SOUND, 16_000, kind, HELD[kind])
    path = tmp_path / "clip"
    path.write_bytes(content)
    np.testing.assert_allclose(load_audio(path), SOUND, atol=1e-4)
    for where in (content[: int(share * len(content))], path):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(AudioError):
            load_audio(where)


def test_alac_in_caf_and_a_law_of_psion_are_held_to_their_headers_too(tmp_path: Path) -> None:
    alac = encode(SOUND, 16_000, "CAF", "ALAC_16")
    psion = encode(SOUND[::2], 8_000, "WVE", "ALAW")
    assert (len(load_audio(alac)), len(load_audio(psion))) == (8_000, 8_000)
    for content in (alac[:-100], psion[:-100]):
        with pytest.raises(AudioError, match=r"the file is cut off: its header claims .* but only .* are there"):
            load_audio(content, name="clip")


def with_data(content: bytes, size: int, behind: bytes = b"") -> bytes:
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :] + behind


WAV = encode(SOUND, 16_000, "WAV", "PCM_16")
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"
OWN = b"SNDM" + struct.pack("<I", 3) + b"abc"
EMPTY = WAV[: WAV.index(b"data")] + b"data\0\0\0\0"


def by_file(content: bytes, path: Path) -> np.ndarray:
    path.write_bytes(content)
    return load_audio(path)


def by_memory(content: bytes, path: Path) -> np.ndarray:
    return load_audio(content, name="clip")


def by_pipe(content: bytes, path: Path) -> np.ndarray:
    reader = PipeReader(io.BytesIO(content))  # type: ignore[arg-type]
    samples = np.concatenate([np.empty(0, np.float32), *reader])
    reader.check_heard(len(samples))
    return samples


WAYS = {"file": by_file, "memory": by_memory, "pipe": by_pipe}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("error")
def test_a_length_of_0_with_samples_behind_it_is_one_that_nobody_knew(tmp_path: Path, way: str) -> None:
    assert len(WAYS[way](with_data(WAV, 0), tmp_path / "clip.wav")) == 8_000


@pytest.mark.parametrize("way", WAYS)
def test_chunks_behind_no_samples_are_none(tmp_path: Path, way: str) -> None:
    with pytest.raises(AudioError, match=r"without a single sample"):
        WAYS[way](EMPTY + LIST, tmp_path / "clip.wav")


@pytest.mark.parametrize("way", ["file", "memory"])
@pytest.mark.parametrize("behind", [OWN + b"\0", OWN, OWN + b"\0" + LIST, LIST + OWN])
def test_chunks_that_nobody_lists_are_known_by_their_lengths(tmp_path: Path, way: str, behind: bytes) -> None:
    """A chunk of an odd length is followed by a zero, which some writers leave out at the end of a file."""
    with pytest.raises(AudioError, match=r"without a single sample"):
        WAYS[way](EMPTY + behind, tmp_path / "clip.wav")


@pytest.mark.parametrize("way", ["file", "memory"])
@pytest.mark.parametrize("size", [b"INFO", struct.pack("<I", 96)])
@pytest.mark.filterwarnings("error")
def test_samples_that_begin_as_a_chunk_does_are_heard(tmp_path: Path, way: str, size: bytes) -> None:
    """From the end of a chunk of the length that they tell, no other one leads to the end of the file."""
    at = WAV.index(b"data") + 8
    content = with_data(WAV[:at] + b"LIST" + size + WAV[at + 8 :], 0)
    heard = WAYS[way](content, tmp_path / "clip.wav")
    assert len(heard) == 8_000
    np.testing.assert_allclose(heard[:2], np.frombuffer(b"LIST", "<i2") / 32_768, atol=1e-6)
    np.testing.assert_allclose(heard[4:], SOUND[4:], atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_samples_behind_the_end_that_the_header_tells_are_told_of(tmp_path: Path, way: str) -> None:
    with pytest.warns(AudioWarning, match=r"after the end that its header states and were not read"):
        assert len(WAYS[way](with_data(WAV, 4_000), tmp_path / "clip.wav")) == 2_000


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [b"", LIST, b"id3 " + struct.pack("<I", 3) + b"abc\0", bytes(512)])
@pytest.mark.filterwarnings("error")
def test_real_chunks_and_padding_behind_samples_are_no_matter(tmp_path: Path, way: str, behind: bytes) -> None:
    assert len(WAYS[way](WAV + behind, tmp_path / "clip.wav")) == 8_000


def test_check_counts_headers_that_end_early(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from fastast.cli import app

    for name, content in (("a", with_data(WAV, 4_000)), ("b", WAV)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.wav").write_bytes(content)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path), "-q", "--processes", "1"])
    assert "header ends early (can be used): 1" in result.output


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
def test_a_wav_that_is_said_to_have_no_header_is_refused(kind: str) -> None:
    content = encode(SOUND, 44_100, kind, "PCM_24")
    with pytest.raises(
        AudioError, match=r"begins with the header of a WAV, .* leave out --rate, --format and --channels"
    ):
        list(PipeReader(io.BytesIO(content), PcmStream(rate=16_000)))  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["raw", "gsm", "vox", "au", "snd", "RAW"])
def test_an_ending_of_samples_without_a_header_says_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    path.write_bytes(WAV)
    assert len(load_audio(path)) == 8_000
    path.write_bytes(b"<html>404 not found</html>" * 100)
    with pytest.raises(AudioError, match=r"HTML or XML text"):
        load_audio(path)
    path.write_bytes(np.random.default_rng(0).bytes(3_000))
    with pytest.raises(AudioError, match=r"not an audio format that FastAST knows"):
        load_audio(path)
