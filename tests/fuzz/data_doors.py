"""Doors of data sets: shards and tables as other people pack them, and how each is opened.

Shapes: `s` samples.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "fastast" / "data"))

from layouts import HEAD, ONTOLOGY
from sound_files import by_ffmpeg, encode

from fastast.data.folders import ListedSet
from fastast.data.layouts.audioset import read_segments
from fastast.data.layouts.hdf5 import HDF5
from fastast.data.layouts.ontology import LABELS
from fastast.data.layouts.parquet import Parquet

MOST = 4
"""Clips of a set that are heard."""


def wave(channels: int) -> NDArray[np.float32]:
    """A twentieth of a second at 16 kHz, (s, channels)."""
    return (0.4 * np.sin(np.arange(800)[:, None] * 0.3 + np.arange(channels))).astype(np.float32)


WAVE = wave(1)[:, 0]  # (s,)


def media() -> list[bytes]:
    """AAC in MPEG-4, Opus in WebM, FLAC in Matroska."""
    kinds = (("mp4", "aac", 16_000), ("webm", "libopus", 48_000), ("matroska", "flac", 16_000))
    return [by_ffmpeg(WAVE, rate, container, codec) for container, codec, rate in kinds]


def parquet() -> list[bytes]:
    """Encoded sounds with texts as labels, and with numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for labels, compression in (([["/m/09x0r"], ["/m/0395lw"]], "NONE"), ([["Bird"], ["Cymbal"]], "snappy")):
        sounds = [{"bytes": encode(WAVE, 16_000, "WAV", "PCM_16"), "path": f"{name}.wav"} for name in "ab"]
        table = pa.table({"video_id": ["a", "b"], "audio": sounds, "labels": labels})
        target = io.BytesIO()
        pq.write_table(table, target, compression=compression)
        found.append(target.getvalue())
    return found


def hdf5() -> list[bytes]:
    """Waveforms as of PANNs, with a row that is empty. MP3s as of PaSST are not fuzzed: see SECURITY.md."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            file["audio_name"] = np.array(["Ya.wav", ""], "S20")
            file["target"] = np.eye(2, 4, dtype=bool)
            file["waveform"] = (np.stack([WAVE, WAVE]) * 30_000).astype(np.int16)
            file.attrs["sample_rate"] = 32_000
        return [path.read_bytes()]


def open_shard(options: type[HDF5 | Parquet], path: Path) -> None:
    """Open a shard beside AudioSet's list of classes, and hear its first clips."""
    classes = path.parent / LABELS
    classes.write_text(ONTOLOGY)
    try:
        options.recognise(path.parent)
        clips: ListedSet[Any] = options(root=str(path.parent), train=(path.name,)).split("train")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index in range(min(len(clips), MOST)):
                clips.clip(index, 0)
    finally:
        classes.unlink()


def ontologies() -> list[bytes]:
    return [ONTOLOGY.encode()]


def segments() -> list[bytes]:
    return [f'{HEAD}-0abcdefghi, 30.000, 40.000, "/m/09x0r,/m/0395lw"\n'.encode()]


def lists() -> list[bytes]:
    return [b'{"data": [{"wav": "/data/a.flac", "labels": "/m/09x0r,/m/0395lw"}, {"wav": "b.wav", "labels": "dog"}]}']


def open_segments(path: Path) -> None:
    for _ in read_segments(path):
        pass
