"""Provide the recordings that soundscapes are mixed from: their catalogue and their audio.

Shapes: `w` samples of a source.

`sources.csv` gives the split, class, length and recording group of every source and is part of the package; `pool.tar`
holds the audio (Ogg Opus, 16 kHz, one channel) and is in the repository only.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastast.data.soundscapes.mixing import SAMPLE_RATE, Catalogue

ASSETS = Path(__file__).parents[2] / "assets" / "soundscapes"
FIRST_SEED = {"train": 7_000_000, "val": 1_100_006, "test": 1_200_009}
"""Seed of clip 0 of each split; clip i has that seed plus i."""
FOLDER_VARIABLE = "FASTAST_SOUNDSCAPES"
"""Environment variable that names another folder with `pool.tar`."""


class SoundscapesError(ValueError):
    """Soundscapes that cannot be made; the message names the file or value and says what to do."""


class PoolNotFoundError(SoundscapesError, FileNotFoundError):
    """An audio pool that does not exist."""


@functools.cache
def committed() -> dict[str, object]:
    """Return the committed facts about the data set: the pool's size and hash, and the hashes of the clips."""
    return dict(json.loads((ASSETS / "reference.json").read_text(encoding="utf-8")))


@functools.cache
def catalogue(split: str) -> Catalogue:
    """Return the sources of a split, in the order of `sources.csv`."""
    classes: dict[str, dict[str, list[str]]] = {}
    samples: dict[str, int] = {}
    with (ASSETS / "sources.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                classes.setdefault(row["class"], {}).setdefault(row["group"], []).append(row["source"])
                samples[row["source"]] = round(float(row["seconds"]) * SAMPLE_RATE)
    return Catalogue(classes=classes, samples=samples)


def pool_path() -> Path:
    """Return the path of the audio pool: in `$FASTAST_SOUNDSCAPES`, else next to `sources.csv`."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder).expanduser() if folder else ASSETS) / "pool.tar"


class Pool:
    """The audio of one split, decoded on first use and kept: float32 (w,) in [-1, 1] by a source's name."""

    def __init__(self, split: str, path: Path) -> None:
        """Read the pool's file. Raises SoundscapesError if it is missing or not the committed one."""
        content = _checked(path)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            self._encoded = {
                Path(member.name).stem: content[member.offset_data : member.offset_data + member.size]
                for member in archive
                if member.isfile() and member.name.startswith(f"{split}/")
            }
        self._samples = catalogue(split).samples
        self._decoded: dict[str, NDArray[np.float32]] = {}

    def __call__(self, name: str) -> NDArray[np.float32]:
        """Return a source's samples, (w,). Threads may call it concurrently: at worst, a source is decoded twice."""
        if name not in self._decoded:
            self._decoded[name] = self._decode(name)
        return self._decoded[name]

    def _decode(self, name: str) -> NDArray[np.float32]:
        import soundfile

        samples, rate = soundfile.read(io.BytesIO(self._encoded[name]), dtype="float32")
        if rate != SAMPLE_RATE or samples.shape != (self._samples[name],):
            raise SoundscapesError(
                f"source {name} decoded to {samples.shape} samples at {rate} Hz, not ({self._samples[name]},) at "
                f"{SAMPLE_RATE} Hz: libsndfile {soundfile.__libsndfile_version__} decodes Ogg Opus differently; "
                "install soundfile 0.13 or later from its wheel"
            )
        return np.asarray(samples, np.float32)


def _checked(path: Path) -> bytes:
    """Return the pool's bytes. Raises SoundscapesError if the file is missing or not the committed one."""
    expected = committed()["pool"]
    assert isinstance(expected, dict)
    fetch = (
        f"clone the repository, or set {FOLDER_VARIABLE}=<folder with pool.tar> (the audio is not in the package, "
        "because its licences differ from the package's)"
    )
    if not path.is_file():
        raise PoolNotFoundError(f"{path}: the audio of the soundscapes is missing; {fetch}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() == expected["sha256"]:
        return content
    if content.startswith(b"version https://git-lfs"):
        raise SoundscapesError(f"{path}: a Git LFS pointer, not the audio itself; fetch it with: git lfs pull")
    if len(content) < expected["bytes"]:
        fault = f"cut off: {len(content):,} bytes of {expected['bytes']:,}"
    else:
        fault = f"not the audio of this version: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    raise SoundscapesError(f"{path}: {fault}; expected sha256 {expected['sha256']}. Restore the file: {fetch}")
