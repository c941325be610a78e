"""The features of a sweep's clips: computed once per model input, cached on disk, and verified before every use.

Shapes: `n` clips, `c` classes, `f` frames, `m` mel bins, `s` samples of a clip.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.cell.feature_set import ClipNotes, FeatureSet
from bench.measure.loading import ClipOrigin, Preparation
from fastast.data.training_set import DataError, Item, TrainingSet, collate, read_clip, reading_of
from fastast.frontend.filterbank import num_frames
from fastast.system.writing import remove_leftovers, write_whole

if TYPE_CHECKING:
    from bench.sweep.data import DataRef
    from fastast.frontend import Frontend
    from fastast.model import AudioSpectrogramTransformer

_CHUNK = 64
"""Number of clips whose features are computed at once."""
_READERS = 8
"""Largest number of threads that read clips."""
_SOURCES: Mapping[str, ClipOrigin] = {"cache": "cache", "soundscapes": "mixed"}
"""Data sets whose clips are not audio files."""


def prepare_features(ref: DataRef, model: AudioSpectrogramTransformer, cache: Path, *, progress: bool) -> FeatureSet:
    """Return the features of clips for a model, in float32, computed once and kept in `cache`.

    The file's name is a hash of everything that the features depend on: the audio, the labels, the settings and the
    code of the front end. If any of these changes, the features are computed again. So they are, with a warning, if the
    file is damaged or lacks a clip that can be read by now.

    Raises DataError if the clips differ from those that the sweep asks for, or if none can be read.
    """
    from bench.cell import feature_set
    from fastast import frontend
    from fastast.data import audio, decoding

    data, chosen = ref.open()
    labels = _labels(data, chosen)
    shape = (model.geometry.num_frames, model.geometry.num_mel_bins)
    settings = [
        ref.ids_sha256,
        hashlib.sha256(labels.tobytes()).hexdigest(),
        data.fingerprint(),
        *shape,
        str(model.normalisation),
        *(_hash_code(module) for module in (frontend, audio, decoding, feature_set)),
        *(version(package) for package in ("soundfile", "soxr")),
    ]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:20]
    path = cache / "features" / f"{key}.npy"
    notes = found = _read_checked(path)
    if found is not None and _reads_more(data, chosen, found.skipped):
        warnings.warn(f"{path}: clips that could not be read can be now; the features are made again", stacklevel=2)
        notes = found = None
    if notes is None:
        # Problems of a clip are reported where it is read, with its name.
        front_end = frontend.Frontend(model.geometry, model.normalisation, check=False)
        maker = _Maker(data, chosen, labels, front_end)
        notes = maker.write(path, shape, source=_SOURCES.get(ref.dataset, "files"), progress=progress)
    kept = [place for place, index in enumerate(chosen) if data.id(index) not in notes.skipped]
    return FeatureSet(
        path=path,
        ids=tuple(data.id(chosen[place]) for place in kept),
        labels=labels[kept],
        classes=tuple(data.classes),
        task=data.task,
        clips_sha256=notes.clips_sha256,
        matches_reference=notes.matches_reference,
        skipped=notes.skipped,
        cut=notes.cut,
        frames=tuple(notes.frames),
        reading=reading_of(data),
        preparation=notes.preparation,
        reused=found is not None,
    )


def _hash_code(module: ModuleType) -> str:
    """Return the hash of a module's source, or of all modules of a package."""
    path = Path(str(module.__file__))
    files = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _labels(data: TrainingSet, chosen: Sequence[int]) -> NDArray[np.uint8]:
    """Return the labels (n, c). Raises DataError for a clip of a single-label set without exactly one label."""
    labels = np.stack([data.labels(index, 0) for index in chosen]).astype(np.uint8)
    if data.task == "single_label" and (odd := np.flatnonzero(labels.sum(axis=1) != 1)).size:
        name, count = data.name(chosen[odd[0]]), int(labels[odd[0]].sum())
        raise DataError(f"{name}: it has {count} labels; every clip of this data set must have exactly one")
    return labels


def _read_checked(path: Path) -> ClipNotes | None:
    """Return the notes on a file of features; None if there is no such file or, with a warning, if it is damaged."""
    if not path.exists():
        return None
    notes_path = path.with_suffix(".json")
    try:
        written = json.loads(notes_path.read_text(encoding="utf-8"))
        notes = ClipNotes(**written | {"preparation": Preparation(**written["preparation"])})
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.warn(f"{path}: its notes cannot be read ({error}); the features are made again", stacklevel=2)
        return None
    if found == notes.sha256:
        return notes
    size = path.stat().st_size
    warnings.warn(f"{path}: damaged ({size:,} bytes, hash differs); the features are made again", stacklevel=2)
    return None


def _reads_more(data: TrainingSet, chosen: Sequence[int], skipped: Mapping[str, str]) -> bool:
    """Whether a clip that was skipped can be read now: a disk is back, a library was installed."""
    return any(read_clip(data, index, 0).waveform is not None for index in chosen if data.id(index) in skipped)


class _Maker:
    """Reads clips and writes their features."""

    def __init__(self, data: TrainingSet, chosen: Sequence[int], labels: NDArray[np.uint8], frontend: Frontend) -> None:
        self._data, self._chosen, self._labels, self._frontend = data, chosen, labels, frontend
        self._digest = hashlib.sha256()
        self._reference: tuple[int, str] | None = getattr(data, "reference", lambda: None)()
        self._matches: bool | None = None
        self._skipped: dict[str, str] = {}
        self._frames: list[int] = []
        self._readers = min(_READERS, os.cpu_count() or 1)
        self._read_seconds = 0.0

    def write(self, path: Path, shape: tuple[int, int], *, source: ClipOrigin, progress: bool) -> ClipNotes:
        """Compute features into a temporary file, then rename it and write the notes: partial files never remain."""
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            rows, wall, core = 0, time.perf_counter(), time.process_time()
            target: NDArray[Any] = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(self._chosen), *shape))
            for features in self._features(progress):
                target[rows : rows + len(features)] = features
                rows += len(features)
            preparation = Preparation(
                source=source,
                clips=rows,
                readers=self._readers,
                seconds=time.perf_counter() - wall,
                core_seconds=time.process_time() - core,
                read_core_seconds=self._read_seconds,
            )
            if not rows:
                raise DataError(f"not one clip could be read; the first says: {next(iter(self._skipped.values()))}")
            if rows < len(target):
                _shorten(temporary, target, rows)
            del target  # flushes it to disk
            with temporary.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        notes = ClipNotes(
            sha256=sha256,
            clips_sha256=self._digest.hexdigest(),
            matches_reference=self._matches,
            skipped=self._skipped,
            cut=sum(frames > self._frontend.num_frames for frames in self._frames),
            frames=self._frames,
            preparation=preparation,
        )
        written = asdict(notes) | {"preparation": preparation.model_dump()}
        write_whole(path.with_suffix(".json"), json.dumps(written, indent=1).encode())
        return notes

    def _features(self, progress: bool) -> Iterator[NDArray[np.float32]]:
        """Yield the features of one chunk of clips at a time, without clips that cannot be read."""
        from fastast.data.augment import Augmentation

        for items in self._items(progress):
            sound = [item for item in items if item.waveform is not None]
            if sound:
                batch = collate(sound, len(self._data.classes))
                yield Augmentation.plain(batch, self._frontend).numpy()  # (b, f, m)

    def _items(self, progress: bool) -> Iterator[list[Item]]:
        """Yield clips in order, a chunk at a time, reading ahead on several threads."""
        from fastast.system.progress import progress_bar

        chunks = [self._chosen[start : start + _CHUNK] for start in range(0, len(self._chosen), _CHUNK)]
        executor = ThreadPoolExecutor(self._readers)
        try:
            ahead = [executor.submit(_read, self._data, index) for index in chunks[0]]
            with progress_bar(f"reading {len(self._chosen):,} clips", len(self._chosen), shown=progress) as advance:
                for number in range(len(chunks)):
                    read = [job.result() for job in ahead]
                    items = [item for item, _ in read]
                    self._read_seconds += sum(seconds for _, seconds in read)
                    following = chunks[number + 1] if number + 1 < len(chunks) else ()
                    ahead = [executor.submit(_read, self._data, index) for index in following]
                    for place, item in enumerate(items, start=number * _CHUNK):
                        self._note(place, item)
                        advance()
                    yield items
        finally:
            executor.shutdown(cancel_futures=True)

    def _note(self, place: int, item: Item) -> None:
        """Add a clip to the hash of all clips, or to the skipped ones."""
        if item.waveform is None:
            self._skipped[self._data.id(item.index)] = item.skipped[0][1]
            return
        self._frames.append(num_frames(len(item.waveform)) if item.waveform.ndim == 1 else len(item.waveform))
        self._digest.update(_clip_bytes(item.waveform) + self._labels[place].tobytes())
        if self._reference is not None and place + 1 == self._reference[0]:
            self._matches = self._digest.hexdigest() == self._reference[1]


def _read(data: TrainingSet, index: int) -> tuple[Item, float]:
    """Return a clip, and the processor time in seconds that this thread needed to read it."""
    start = time.thread_time()
    item = read_clip(data, index, 0)
    return item, time.thread_time() - start


def _clip_bytes(waveform: NDArray[np.float32]) -> bytes:
    """Return the bytes to hash of samples (s,): int16 if that is what they were, as in most files, else float32.

    Filterbanks (f, m) of a cache are hashed in the same way.
    """
    scaled = waveform * np.float32(32768)
    whole = np.array_equal(np.rint(scaled), scaled) and scaled.min() >= -32768 and scaled.max() <= 32767
    return scaled.astype("<i2").tobytes() if whole else waveform.astype("<f4").tobytes()


def _shorten(path: Path, target: NDArray[Any], rows: int) -> None:
    """Truncate a file of features to its first rows."""
    shorter = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        copy = np.lib.format.open_memmap(shorter, "w+", target.dtype, (rows, *target.shape[1:]))
        copy[:] = target[:rows]
        del copy
        os.replace(shorter, path)
    finally:
        shorter.unlink(missing_ok=True)
