"""Files as people have them: headers that know no length or lie about it, joined files, codecs in WAV, other scales."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_files import by_ffmpeg, encode, likeness, mp3, recording, without_header_frame

from fastast.data.audio import AudioError, AudioReader, AudioWarning, load_audio
from fastast.data.decoding import media
from fastast.data.decoding.parts import BLOCK

FRAME = 1152
"""Samples of a frame of MPEG-1 audio."""


def native(content: bytes) -> np.ndarray:
    """All samples of an encoded file at its own rate."""
    return np.concatenate(list(AudioReader(content, name="clip", sample_rate=None)))


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "is_installed", lambda: False)


def id3_picture(size: int = 300_000) -> bytes:
    """An ID3v2 tag of a size, full of what a picture holds."""
    syncsafe = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + syncsafe + np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()


# MP3 (cases 7 and 21) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet_half_first", [True, False])
def test_every_frame_of_a_variable_bit_rate_without_header_is_read(quiet_half_first: bool) -> None:
    loudness = np.repeat([0.001, 0.9] if quiet_half_first else [0.9, 0.001], 10 * 44_100)
    whole = mp3(recording(20, 44_100) * loudness, bitrate_mode="VARIABLE", compression_level=0.5)
    cut, frames = without_header_frame(whole)
    mine, reference = native(cut), soundfile.read(io.BytesIO(whole))[0]
    assert len(mine) == frames * FRAME
    # Without its header LAME's delay stays in: 576 samples of the encoder, 529 of the decoder. The rest is the same.
    np.testing.assert_allclose(mine[1105 : 1105 + len(reference)], reference, atol=1e-6)


def test_no_mp3_of_constant_bit_rate_is_called_cut_off() -> None:
    for samples in np.random.default_rng(0).integers(4_410, 132_300, 30):
        cut, frames = without_header_frame(mp3(recording(3, 44_100)[:samples], bitrate_mode="CONSTANT"))
        assert len(native(cut)) == frames * FRAME


@pytest.mark.parametrize("with_header", [True, False])
def test_joined_mp3s_are_read_as_if_each_were_alone(with_header: bool) -> None:
    pair = [mp3(recording(3, 44_100)), mp3(recording(5, 44_100)[::-1].copy())]
    if not with_header:
        pair = [without_header_frame(content)[0] for content in pair]
    alone = [native(content) for content in pair]
    joined = native(pair[0] + pair[1])
    assert len(joined) == sum(map(len, alone))
    if with_header:
        np.testing.assert_array_equal(joined, np.concatenate(alone))
        assert len(joined) == 8 * 44_100


def test_joined_mp3s_of_two_rates_are_brought_to_one() -> None:
    pair = mp3(recording(2, 44_100)), mp3(recording(3, 22_050), 22_050)
    mine = load_audio(pair[0] + pair[1], name="joined")
    np.testing.assert_array_equal(mine, np.concatenate([load_audio(part, name="one") for part in pair]))


TAGS: dict[str, Callable[[bytes], bytes]] = {
    "picture before": lambda content: id3_picture() + content,
    "two tags before": lambda content: id3_picture(500) + id3_picture(70_000) + content,
    "ID3v1 behind": lambda content: content + b"TAG" + bytes(125),
    "APE tag behind": lambda content: (
        content + b"APETAGEX" + struct.pack("<IIII", 2000, 40_000, 1, 0) + bytes(8) + id3_picture(40_000)[10:]
    ),
    "zeros behind": lambda content: content + bytes(100_000),
    "zeros before": lambda content: bytes(3_000) + content,
    "half a frame behind": lambda content: content + content[:200],
}


@pytest.mark.parametrize("where", TAGS)
@pytest.mark.parametrize("with_header", [True, False])
def test_what_is_no_sound_in_an_mp3_changes_nothing(where: str, with_header: bool) -> None:
    content = mp3(recording(3, 44_100))
    content = content if with_header else without_header_frame(content)[0]
    np.testing.assert_array_equal(native(TAGS[where](content)), native(content))


def test_a_tag_between_joined_mp3s_is_skipped() -> None:
    one = mp3(recording(2, 44_100))
    assert len(native(one + id3_picture() + one)) == 4 * 44_100


def test_layer_2_without_any_length_is_read_whole() -> None:
    pytest.importorskip("av")
    content = by_ffmpeg(recording(7, 44_100), 44_100, "mp2", "mp2")
    assert len(native(content)) == round(len(content) / (144 * 384_000 / 44_100)) * FRAME
    assert likeness(native(content)[481:], recording(7, 44_100)) > 0.99  # 481: the filterbank's delay


def test_an_mp3_that_counts_its_frames_is_held_to_them() -> None:
    content = mp3(recording(3, 44_100))
    message = r"clip: the file is cut off or damaged: its header claims 116 frames but only \d+ are there"
    with pytest.raises(AudioError, match=message):
        native(content[:-5_000])
    too_low = bytearray(content)
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    too_low[at : at + 4] = struct.pack(">I", 50)
    assert len(native(bytes(too_low))) == 116 * FRAME


# Claimed lengths (case 20) -------------------------------------------------------------------------------------------


def flac_that_claims(samples: int) -> bytes:
    content = bytearray(encode(recording(5), 16_000, "FLAC", "PCM_16"))
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = (fields >> 36 << 36 | samples).to_bytes(8, "big")
    return bytes(content)


def test_a_flac_that_claims_more_than_its_bytes_can_hold_is_refused_in_constant_memory(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac_that_claims(2**35))
    code = (
        "import resource, sys\n"
        "from fastast.data.audio import load_audio\n"
        "import soundfile, numpy\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "try: load_audio(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.flac")], capture_output=True, text=True, check=True, timeout=60
    )
    assert "a.flac: the file is cut off or damaged: its header claims 34,359,738,368 samples, which " in done.stdout


def test_a_flac_that_claims_a_little_more_is_cut_off() -> None:
    with pytest.raises(AudioError, match=r"cut off: its header claims 90,000 samples but only 80,000 are there"):
        native(flac_that_claims(90_000))


def test_a_flac_of_unknown_length_is_read_whole() -> None:
    """A streaming encoder writes 0 samples, which means unknown (RFC 9639, section 8.2)."""
    np.testing.assert_array_equal(native(flac_that_claims(0)), native(flac_that_claims(80_000)))


BEHIND_A_FLAC = {"ID3v1": b"TAG" + b"a song".ljust(125, b"\0"), "APE": b"APETAGEX" + bytes(24), "zeros": bytes(1000)}


@pytest.mark.parametrize("tag", BEHIND_A_FLAC)
def test_a_tag_behind_the_sound_of_a_flac_is_no_damage(tag: str) -> None:
    """Programs that know MP3 alone write tags there."""
    content = encode(recording(5), 16_000, "FLAC", "PCM_16")
    np.testing.assert_array_equal(native(content + BEHIND_A_FLAC[tag]), native(content))


@pytest.mark.parametrize("samples", [80_000, BLOCK])
def test_a_flac_that_is_joined_to_another_is_not_heard_in_part(samples: int) -> None:
    content = encode(np.resize(recording(5), samples), 16_000, "FLAC", "PCM_16")
    with pytest.raises(AudioError, match="another FLAC is appended to it, which would not be read; split the file"):
        native(content + content)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chained_ogg_is_read_as_if_each_were_alone(subtype: str) -> None:
    one = encode(recording(5), 16_000, "OGG", subtype)
    other = encode(recording(3, 48_000), 48_000, "OGG", subtype)
    chained = load_audio(one + other, name="chain")
    np.testing.assert_array_equal(chained, np.concatenate([load_audio(x, name="one") for x in (one, other)]))
    assert len(chained) == 8 * 16_000


def ogg_checksum(page: bytes) -> int:
    """CRC-32 bit by bit, as RFC 3533 has it."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if value >> 31 else value << 1 & 0xFFFFFFFF
    return value


def with_last_page(content: bytes, change: Callable[[bytearray], None]) -> bytes:
    start = content.rfind(b"OggS")
    page = bytearray(content[start:])
    change(page)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", ogg_checksum(bytes(page)))
    return content[:start] + bytes(page)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_never_finished_is_read(subtype: str) -> None:
    content = encode(recording(5), 16_000, "OGG", subtype)

    def unfinish(page: bytearray) -> None:
        page[5] &= ~4

    np.testing.assert_array_equal(native(with_last_page(content, unfinish)), native(content))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_claims_years_is_refused(subtype: str) -> None:
    def claim(page: bytearray) -> None:
        page[6:14] = struct.pack("<q", 2**50)

    with pytest.raises(AudioError, match=r"cut off: its header claims [\d,]{19,} samples but only 80,\d\d\d are there"):
        native(with_last_page(encode(recording(5), 16_000, "OGG", subtype), claim))


def wav_that_claims(channels: int = 1, rate: int = 16_000, bits: int = 16, data: int = 8000) -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data) + bytes(8000)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_wav_that_claims_more_than_there_is_is_refused() -> None:
    with pytest.raises(AudioError, match=r"its header claims 2,000,000,000 bytes of audio but only 8,000 are there"):
        native(wav_that_claims(data=2_000_000_000))


@pytest.mark.parametrize("rate", [0, 1, 999, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_refused(rate: int) -> None:
    with pytest.raises(AudioError, match=r"clip: "):
        native(wav_that_claims(rate=rate))


@pytest.mark.parametrize("channels", [0, 300, 65_535])
def test_channels_without_number_do_not_matter_or_are_refused(channels: int) -> None:
    try:
        samples = len(native(wav_that_claims(channels=channels)))
    except AudioError as error:
        samples = str(error)
    assert samples == (8000 // (2 * channels) if channels else 0) or str(samples).startswith("clip: ")


# Codecs and containers (case 8) --------------------------------------------------------------------------------------

WAVS = {
    "8 bit, 11.025 kHz": (11_025, "WAV", "PCM_U8", 0.01),
    "24 bit, 96 kHz": (96_000, "WAV", "PCM_24", 1e-6),
    "32 bit": (16_000, "WAV", "PCM_32", 1e-6),
    "extensible": (16_000, "WAVEX", "PCM_24", 1e-6),
    "mu-law, 8 kHz": (8_000, "WAV", "ULAW", 0.005),
    "A-law, 8 kHz": (8_000, "WAV", "ALAW", 0.005),
    "MS ADPCM": (16_000, "WAV", "MS_ADPCM", 0.05),
    "IMA ADPCM": (16_000, "WAV", "IMA_ADPCM", 0.05),
    "GSM 6.10, 8 kHz": (8_000, "WAV", "GSM610", 0.1),
    "float": (16_000, "WAV", "FLOAT", 1e-7),
    "double": (16_000, "WAV", "DOUBLE", 1e-7),
    "RF64": (16_000, "RF64", "PCM_16", 1e-4),
    "W64": (16_000, "W64", "PCM_16", 1e-4),
    "AIFF, double": (16_000, "AIFF", "DOUBLE", 1e-7),
    "CAF": (16_000, "CAF", "PCM_16", 1e-4),
    "AU": (16_000, "AU", "PCM_16", 1e-4),
}


@pytest.mark.parametrize("kind", WAVS)
def test_every_kind_of_wav_gives_its_samples(kind: str) -> None:
    rate, container, subtype, tolerance = WAVS[kind]
    samples = recording(1, rate)
    mine = native(encode(samples, rate, container, subtype))
    assert 0 <= len(mine) - rate < 1100  # ADPCM fills its last block
    np.testing.assert_allclose(mine[:rate], samples, atol=tolerance)


def test_four_channels_without_positions_are_averaged(tmp_path: Path) -> None:
    four = np.stack([recording(1) * gain for gain in (1, 0.5, 0.25, 0.25)], axis=1)
    content = bytearray(encode(four, 16_000, "WAVEX", "PCM_24"))
    at = content.index(b"fmt ") + 8 + 20
    content[at : at + 4] = bytes(4)  # the mask of positions
    np.testing.assert_allclose(native(bytes(content)), recording(1) / 2, atol=1e-6)


def test_a_chunk_behind_odd_data_without_its_padding_byte_is_no_fault() -> None:
    content = encode(recording(1)[:8001], 16_000, "WAV", "PCM_U8")
    at = content.index(b"data")
    unpadded = content[: at + 8 + 8001] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert len(native(unpadded)) == 8001


def bw64() -> bytes:
    return b"BW64" + encode(recording(1), 16_000, "RF64", "PCM_16")[4:]


@pytest.mark.usefixtures("without_pyav")
@pytest.mark.parametrize(
    ("codec", "rate", "bit_rate", "says"),
    [
        ("ac3", 48_000, None, r"AC-3 in a WAV \(format tag 0x2000\)"),
        ("g722", 16_000, None, r"G.722 in a WAV"),
        ("g726", 8_000, 16_000, r"G.726 in a WAV"),
        ("wmav2", 44_100, 64_000, r"Windows Media Audio 2 \(WMA\) in a WAV"),
        ("flac", 16_000, None, r"FLAC in a WAV"),
    ],
)
def test_a_codec_in_wav_that_cannot_be_read_is_named(codec: str, rate: int, bit_rate: int | None, says: str) -> None:
    pytest.importorskip("av")
    content = by_ffmpeg(recording(1, rate), rate, "wav", codec, bit_rate=bit_rate)
    message = rf"clip: not readable: this is {says}.*fastast\[media\].*ffmpeg -i"
    with pytest.raises(AudioError, match=message) as refused:
        native(content)
    assert "damaged" not in str(refused.value)


@pytest.mark.usefixtures("without_pyav")
def test_bw64_is_named() -> None:
    with pytest.raises(AudioError, match=r"this is a BW64 file, .*ffmpeg -i 'clip'"):
        native(bw64())


MEDIA = {
    "m4a": ("ipod", "aac", 44_100, 128_000, 0.99),
    "mp4": ("mp4", "aac", 48_000, 128_000, 0.99),
    "webm": ("webm", "libopus", 48_000, None, 0.95),
    "mkv": ("matroska", "flac", 16_000, None, 0.999),
    "AC-3 in WAV": ("wav", "ac3", 48_000, None, 0.95),
    "G.722 in WAV": ("wav", "g722", 16_000, None, 0.95),
    "FLAC in Ogg": ("ogg", "flac", 16_000, None, 0.999),
    "mp3 in mkv": ("matroska", "libmp3lame", 44_100, None, 0.9),
}


@pytest.mark.parametrize("kind", MEDIA)
def test_containers_are_read_through_pyav(kind: str) -> None:
    pytest.importorskip("av")
    container, codec, rate, bit_rate, least = MEDIA[kind]
    samples = recording(3, rate)
    mine = native(by_ffmpeg(samples, rate, container, codec, bit_rate=bit_rate))
    assert abs(len(mine) - len(samples)) <= (0 if kind in ("m4a", "mp4", "mkv", "FLAC in Ogg") else 2 * FRAME)
    offset = int(np.argmax(np.correlate(mine[:6000], samples[2000:4000], "valid"))) - 2000
    assert abs(offset) <= 1200  # an encoder's delay, where the container does not tell it
    assert likeness(mine[max(0, offset) :], samples[max(0, -offset) :]) > least


def test_bw64_is_read_through_pyav() -> None:
    pytest.importorskip("av")
    np.testing.assert_allclose(native(bw64()), recording(1), atol=1e-4)


def test_stereo_in_m4a_keeps_its_channels() -> None:
    pytest.importorskip("av")
    stereo = np.stack([recording(2, 44_100), np.zeros(88_200, np.float32)], axis=1)
    content = by_ffmpeg(stereo, 44_100, "ipod", "aac", bit_rate=192_000)
    first = np.concatenate(list(AudioReader(content, name="clip", sample_rate=None, channels="first")))
    assert likeness(first, stereo[:, 0]) > 0.99
    assert np.sqrt(np.mean(native(content) ** 2)) == pytest.approx(np.sqrt(np.mean(first**2)) / 2, rel=0.02)


def test_an_m4a_that_is_cut_off_or_without_sound_is_named() -> None:
    pytest.importorskip("av")
    content = by_ffmpeg(recording(3, 44_100), 44_100, "ipod", "aac")
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(AudioError, match=r"clip: .*cut off or damaged"):
            native(content[: int(share * len(content))])


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_an_m4a_is_named_with_what_to_install() -> None:
    with pytest.raises(AudioError, match=r"MPEG-4 audio or video \(m4a, mp4\). Install PyAV \(pip install 'fastast"):
        native(b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00" + bytes(200))


# Scale, channels, rates (case 5) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("factor", [32_768, 12_000, 100])
def test_integers_saved_as_floating_point_are_refused_with_their_peak(subtype: str, factor: float) -> None:
    samples = recording(1) / np.abs(recording(1)).max() * factor
    with pytest.raises(AudioError, match=rf"clip: samples reach {factor:,.0f}, but full scale is 1.*Divide|divide"):
        native(encode(samples, 16_000, "WAV", subtype))


def test_quiet_integers_saved_as_floating_point_are_refused() -> None:
    with pytest.raises(AudioError, match=r"samples reach 5, but full scale is 1"):
        native(encode(np.rint(recording(1) / np.abs(recording(1)).max() * 5), 16_000, "WAV", "FLOAT"))


def test_samples_a_little_beyond_full_scale_stay() -> None:
    samples = recording(1) / np.abs(recording(1)).max() * 1.5
    np.testing.assert_allclose(native(encode(samples, 16_000, "WAV", "FLOAT")), samples, atol=1e-6)


def test_the_first_channel_can_be_taken_as_in_asts_code() -> None:
    content = encode(np.stack([recording(1), recording(1)[::-1]], 1), 16_000, "WAV", "FLOAT")
    np.testing.assert_array_equal(load_audio(content, channels="first"), recording(1))
    with pytest.raises(ValueError, match=r"unknown rule for channels 'frist'. Did you mean 'first'"):
        load_audio(content, channels="frist")


def test_averaging_that_cancels_is_warned_of() -> None:
    content = encode(np.stack([recording(1), -0.99 * recording(1)], 1), 16_000, "WAV", "FLOAT")
    with pytest.warns(AudioWarning, match=r"clip: averaging its 2 channels cancels them out; .*channels='first'"):
        load_audio(content, name="clip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_audio(content, name="clip", channels="first")
        load_audio(encode(np.stack([recording(1), recording(1)[::-1]], 1), 16_000, "WAV", "FLOAT"), name="clip")


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_keeps_length_and_tone(rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    mine = load_audio(encode(tone, rate, "WAV", "PCM_24"), name="clip")
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    assert len(mine) == 32_000
    np.testing.assert_allclose(mine[1000:-1000], expected[1000:-1000], atol=1e-4)


# Long files, and what is no file -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_three_hours_are_read_in_blocks_of_bounded_memory(tmp_path: Path) -> None:
    """3 h of 8-bit silence at 8 kHz, 86 MB, most of it a hole in the file."""
    samples = 3 * 3600 * 8_000
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 8_000, 1, 8)
    with (tmp_path / "long.wav").open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + samples) + b"WAVEfmt " + struct.pack("<I", 16) + form)
        file.write(b"data" + struct.pack("<I", samples))
        file.truncate(44 + samples)
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from fastast.data.audio import AudioReader\n"
        "import soundfile, soxr\n"
        # Not ru_maxrss, in which a process has that of whoever started it.
        "most = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "before = most()\n"
        "reader = AudioReader(sys.argv[1])\n"
        "assert sum(map(len, reader)) == 3 * 3600 * 16_000, reader.facts\n"
        "print(most() - before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "long.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 150_000  # KiB; the whole would take 690,000
    with pytest.raises(AudioError, match=r"long.wav: longer than 600 s; cut it into clips, or leave it out"):
        load_audio(tmp_path / "long.wav", max_seconds=600)


def test_what_is_no_file_is_named_and_nothing_hangs(tmp_path: Path) -> None:
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "lost.wav").symlink_to("nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for name, says in {
        "loop.wav": "cannot be read: Too many levels of symbolic links",
        "lost.wav": "a link to a file that does not exist",
        "pipe.wav": "not a regular file but a pipe, socket or device",
    }.items():
        with pytest.raises(ValueError, match=says):
            load_audio(tmp_path / name)


def test_noise_of_every_kind_is_an_audio_error() -> None:
    """Whatever stands behind the first bytes of a known format: named, and nothing else is raised."""
    random = np.random.default_rng(0)
    whole = [
        encode(recording(1), 16_000, "WAV", "PCM_16"),
        encode(recording(1), 16_000, "FLAC", "PCM_16"),
        encode(recording(1), 16_000, "OGG", "VORBIS"),
        encode(recording(1), 16_000, "OGG", "OPUS"),
        mp3(recording(1, 44_100)),
        encode(recording(1), 16_000, "AIFF", "PCM_16"),
    ]
    read, faults = 0, []
    for content in whole:
        for _ in range(40):
            broken = bytearray(content)
            for at in random.integers(0, min(len(broken), 400), 8):
                broken[at] = random.integers(0, 256)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load_audio(bytes(broken), name="clip", max_seconds=60)
                read += 1
            except AudioError as error:
                faults.append(str(error))
    assert 0 < read < 240
    assert [fault for fault in faults if not fault.startswith("clip: ")] == []
