"""HDF5 files as packed by PANNs (a waveform per row) or PaSST (an MP3 per row); needs `pip install 'fastast[data]'`.

A file holds the datasets `audio_name`, `target`, and `waveform` (int16, at the rate in the file's attribute
`sample_rate`) or `mp3` (bytes). Kong et al. 2020; Koutini et al. 2022.
"""

from __future__ import annotations

import io
import wave
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastast.data.clip_files import find_root
from fastast.data.datasets import LATER
from fastast.data.decoding.part import check_rate
from fastast.data.folders import check_data_options, check_root, check_split
from fastast.data.layouts.ontology import LABELS, read_ontology
from fastast.data.shards import OpenFiles, ShardRow, ShardSet, find_shards, reading, shard_files
from fastast.data.training_set import DataError, SplitNotFoundError

ENDINGS = ("h5", "hdf5", "hdf")


@dataclass(frozen=True, kw_only=True)
class HDF5:
    """The `[data]` section of a recipe for HDF5 files; `root` holds them and `class_labels_indices.csv`."""

    root: str = ""
    """Folder that holds the files."""
    train: tuple[str, ...] = ()
    """Files of the training clips, as patterns below `root`. Empty: the files named after the split."""
    val: tuple[str, ...] = ()
    """Files of the validation clips. Empty: those named after the split, else those of `test`, as on AudioSet."""
    test: tuple[str, ...] = ()
    """Files of the test clips. Empty: the files named after the split."""
    classes: str = LABELS
    """Table of the classes, with columns index, mid and display_name."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)

    @classmethod
    def recognise(cls, root: Path) -> HDF5 | None:
        """Return the options for a folder of this layout; None for any other folder."""
        files = [path for path in shard_files(root, ENDINGS) if _is_packed(path)]
        return cls(root=str(root)) if files else None

    def split(self, name: str) -> HDF5Set:
        """Return the clips of a split; rows that PANNs left empty, as their audio was missing, count as missing."""
        check_split(name, "the HDF5 files")
        root = check_root(self.root, "the data", f"HDF5 files and {LABELS}")
        ontology = read_ontology(find_root(root, self.classes) / self.classes)
        rows: list[ShardRow] = []
        missing: list[str] = []
        for shard in self._shards(root, name):
            found, empty = _read(shard, len(ontology.classes))
            rows += found
            missing += empty
        if not rows:
            raise SplitNotFoundError(f"{root}: no clip is in the {name} split")
        return HDF5Set(ontology.classes, rows, task="multi_label", missing=missing, channels=self.channels)

    def _shards(self, root: Path, name: str) -> list[Path]:
        try:
            return find_shards(root, name, getattr(self, name), ENDINGS)
        except SplitNotFoundError:
            if name == "val" and not self.val:
                return find_shards(root, "test", self.test, ENDINGS)
            raise


class HDF5Set(ShardSet):
    """Clips that are rows of HDF5 files."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = OpenFiles(_opened)

    def source(self, index: int) -> bytes:
        """Return the clip as a WAV or an MP3."""
        row = self.entries[index]
        file = self._file(row.shard)
        with _reading(row.shard):
            if "mp3" in file:
                return file["mp3"][row.index].tobytes()
            rate, samples = int(file.attrs["sample_rate"]), file["waveform"][row.index].astype("<i2")
        check_rate(self.name(index), rate)
        target = io.BytesIO()
        with wave.open(target, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(rate)
            wav.writeframes(samples.tobytes())
        return target.getvalue()


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path}: reading HDF5 requires h5py; install it: pip install 'fastast[data]'") from error
    with _reading(path):
        return h5py.File(path, "r")


def _reading(shard: Path) -> AbstractContextManager[None]:
    # h5py has no exception class of its own.
    faults = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
    return reading(shard, "HDF5", "HDF5", faults)


def _read(shard: Path, num_classes: int) -> tuple[list[ShardRow], list[str]]:
    """Return the rows of a file that hold a clip, and file and number of the empty ones."""
    with _opened(shard) as file, _reading(shard):
        audio = "mp3" if "mp3" in file else "waveform"
        missing = [name for name in ("audio_name", audio, "target") if name not in file]
        if missing:
            raise DataError(
                f"{shard}: no dataset {missing[0]!r} in it; it must have audio_name, target, and waveform or mp3"
            )
        if audio == "waveform" and (file[audio].dtype != np.int16 or "sample_rate" not in file.attrs):
            raise DataError(
                f"{shard}: waveform is {file[audio].dtype}; it must be int16, with an attribute sample_rate of the file"
            )
        names, targets, sounds = file["audio_name"][:], file["target"][:], len(file[audio])
    if not len(names) == len(targets) == sounds:
        raise DataError(f"{shard}: {len(names)} names, but {len(targets)} targets and {sounds} of {audio}")
    if targets.ndim == 2 and targets.dtype == np.uint8 and targets.shape[1] == -(-num_classes // 8):
        targets = np.unpackbits(targets, axis=1, count=num_classes)
    if targets.ndim != 2 or targets.shape[1] != num_classes:
        raise DataError(f"{shard}: targets of {targets.shape[1:]} classes; the table of classes has {num_classes}")
    rows, empty = [], []
    for index, (name, target) in enumerate(zip(names, targets, strict=True)):
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        if text:
            rows.append(
                ShardRow(id=_id(text), shard=shard, index=index, columns=tuple(np.flatnonzero(target).tolist()))
            )
        else:
            empty.append(f"{shard.name}, row {index}")
    return rows, empty


def _id(name: str) -> str:
    """Return the YouTube id in a name such as PANNs' Y--4gqARaEJE.wav, so that ids equal those of other copies."""
    file = name.rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    return stem[1:] if len(stem) == 12 and stem.startswith("Y") else stem


def _is_packed(path: Path) -> bool:
    """Return whether a file has the datasets that PANNs and PaSST write."""
    with _opened(path) as file, _reading(path):
        return "audio_name" in file and "target" in file
