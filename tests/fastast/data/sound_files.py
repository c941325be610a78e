"""Real recordings, and files of every kind that are made of them: what people have, whole and broken."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "fastast/assets/examples/bird_and_water.ogg"


@functools.cache
def recording(seconds: float = 5.0, rate: int = 16_000) -> NDArray[np.float32]:
    """A bird over running water, repeated to a length; at another rate it is the same samples, faster or slower."""
    samples, _ = soundfile.read(EXAMPLE, dtype="float32")
    return np.resize(samples, int(seconds * rate)).astype(np.float32)


def encode(samples: NDArray[Any], rate: int, kind: str, subtype: str, **options: Any) -> bytes:
    """Encode by libsndfile."""
    target = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(target, "w", rate, channels, subtype, format=kind, **options) as file:
        file.write(samples)
    return target.getvalue()


def mp3(samples: NDArray[Any], rate: int = 44_100, **options: Any) -> bytes:
    """Encode by LAME, which writes a first frame that says how many follow."""
    return encode(samples, rate, "MP3", "MPEG_LAYER_III", **options)


def without_header_frame(content: bytes) -> tuple[bytes, int]:
    """Cut LAME's first frame out; returns the rest and the number of frames that the cut one counted."""
    at = max(content.find(b"Xing", 0, 64), content.find(b"Info", 0, 64))
    frames = int.from_bytes(content[at + 8 : at + 12], "big")
    second = content.index(content[:2], at)  # the next frame begins with the same two bytes
    return content[second:], frames


def by_ffmpeg(
    samples: NDArray[np.float32], rate: int, container: str, codec: str, *, bit_rate: int | None = None
) -> bytes:
    """Encode by FFmpeg, through PyAV."""
    import av

    target = io.BytesIO()
    rows = samples.T if samples.ndim == 2 else samples[None]  # (k, s)
    layout = "mono" if len(rows) == 1 else "stereo"
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = layout
        if bit_rate:
            stream.bit_rate = bit_rate
        wanted = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(format=wanted, layout=layout, rate=rate)
        for start in range(0, rows.shape[1], 4096):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows[:, start : start + 4096]), "fltp", layout)
            frame.sample_rate, frame.pts = rate, start
            for part in resampler.resample(frame):
                file.mux(stream.encode(part))
        for part in resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return target.getvalue()


def likeness(mine: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Correlation of two recordings over their common length, 1 where they are the same but for the volume."""
    size = min(len(mine), len(theirs))
    return float(np.corrcoef(mine[:size], theirs[:size])[0, 1])


@functools.cache
def sounds() -> dict[str, NDArray[np.float32]]:
    """Four real recordings of a second at 16 kHz that are unlike each other."""
    found = {"bird": recording(1.0)}
    for name in ("bell", "cymbal", "tabla"):
        with np.load(ROOT / f"tests/fastast/frontend/golden/fbank_{name}.npz") as file:
            found[name] = (file["waveform"][:16_000] / 32_768).astype(np.float32)
    return found


def write_sound(path: Path, name: str, gain: float = 1.0) -> Path:
    """Write one of the recordings in the format that the path's ending says, at a rate people have it in."""
    kinds = {
        "wav": (16_000, "WAV", "PCM_16"),
        "flac": (16_000, "FLAC", "PCM_24"),
        "ogg": (16_000, "OGG", "VORBIS"),
        "opus": (16_000, "OGG", "OPUS"),
        "mp3": (16_000, "MP3", "MPEG_LAYER_III"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(gain * sounds()[name], *kinds[path.suffix[1:]]))
    return path


def heard(samples: NDArray[np.float32]) -> str:
    """Say which of the recordings a clip is."""
    likely = {name: likeness(samples, sound) for name, sound in sounds().items()}
    best = max(likely, key=lambda name: likely[name])
    assert likely[best] > 0.9, likely
    return best
