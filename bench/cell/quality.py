"""Quality of a multi-label classifier: predictions, metrics and their bootstrap intervals.

Metrics are computed from the float16 scores that are stored, so that a reader of the file gets the same numbers.
Shapes: `n` clips, `c` classes, `f` frames, `m` mel bins, `b` bootstrap replicates.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.measure.statistics import CLIP_REPLICATES, basic_interval, clip_weights
from bench.records.schema import Delta
from fastast.metrics import mean_average_precisions, measure_scores

if TYPE_CHECKING:
    from bench.sweep.config import DataConfig
    from fastast.model import AudioSpectrogramTransformer

_CHUNK = 64
"""Clips whose features are computed at once."""
PREDICTION_BATCH = 16
"""Clips a batch when predicting; it does not change the scores beyond rounding."""


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """The normalised filterbank of a split, on disk, with what belongs to it."""

    path: Path
    """(n, f, m) float32 in NumPy's format."""
    ids: tuple[str, ...]
    """Id of every clip."""
    labels: NDArray[np.uint8]
    """(n, c) of 0 and 1."""
    classes: tuple[str, ...]
    """Names of the classes."""
    clips_sha256: str
    """Hash of the waveforms."""
    matches_reference: bool | None
    """Whether the waveforms are bit for bit those of the reference machine; None where not known."""

    def open(self) -> NDArray[np.float32]:
        """Return the features (n, f, m) without reading them into memory."""
        return np.load(self.path, mmap_mode="r")


def prepare_features(
    data: DataConfig, model: AudioSpectrogramTransformer, cache: Path, *, progress: bool
) -> FeatureSet:
    """Return the features of a split for a model, computed once and kept in `cache`, float32 and exact.

    The file's name holds the hash of the clips, of the front end's settings and of its code, so that none of
    them can change without the features being made again.
    """
    from fastast import frontend
    from fastast.data import soundscapes

    clips = soundscapes.load(data.split, count=data.clips, seconds=data.seconds, cache_dir=cache, progress=progress)
    shape = (len(clips.ids), model.geometry.num_frames, model.geometry.num_mel_bins)
    settings = [
        clips.sha256,
        *shape,
        str(model.normalisation),
        hashlib.sha256(Path(frontend.__file__).read_bytes()).hexdigest(),
    ]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:20]
    path = cache / "features" / f"{key}.npy"
    if not path.exists():
        module = frontend.Frontend(model.geometry, model.normalisation)
        _write_features(path, shape, lambda start, end: module(_tensor(clips.waveforms[start:end])).numpy())
    return FeatureSet(
        path=path,
        ids=tuple(clips.ids),
        labels=np.asarray(clips.labels, dtype=np.uint8),
        classes=tuple(clips.classes),
        clips_sha256=clips.sha256,
        matches_reference=clips.matches_reference,
    )


def _tensor(waveforms: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(waveforms))


def _write_features(
    path: Path, shape: tuple[int, int, int], compute: Callable[[int, int], NDArray[np.float32]]
) -> None:
    """Compute features in chunks into a temporary file and rename it when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        target = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, shape[0], _CHUNK):
            end = min(start + _CHUNK, shape[0])
            target[start:end] = compute(start, end)
        target.flush()
        del target
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def predict(
    model: Callable[[Any], Any],
    features: NDArray[np.float32],
    *,
    device: str,
    dtype: str,
    batch_size: int = PREDICTION_BATCH,
) -> NDArray[np.float16]:
    """Return the sigmoid scores of all clips, features (n, f, m) -> (n, c) float16."""
    import torch

    scores = []
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            batch = torch.from_numpy(np.array(features[start : start + batch_size]))
            logits = model(batch.to(device, getattr(torch, dtype)))  # (b, c)
            scores.append(logits.float().sigmoid().cpu().numpy().astype(np.float16))
    return np.concatenate(scores)


def map_interval(
    labels: NDArray[np.uint8], scores: NDArray[np.floating[Any]], *, seed: int, replicates: int = CLIP_REPLICATES
) -> tuple[float, float]:
    """Return the bootstrap interval over clips of the mean average precision."""
    values = scores.astype(np.float64)
    weights = clip_weights(len(labels), seed=seed, replicates=replicates)
    return basic_interval(measure_scores(labels, values).mAP, mean_average_precisions(labels, values, weights))


def compare(
    labels: NDArray[np.uint8],
    scores: NDArray[np.floating[Any]],
    reference: NDArray[np.floating[Any]],
    *,
    against: str,
    seed: int,
    replicates: int = CLIP_REPLICATES,
) -> Delta:
    """Return the paired difference of `scores` to `reference` (both (n, c)) on the same clips.

    Every replicate draws the same clips for both.
    """
    mine, theirs = scores.astype(np.float64), reference.astype(np.float64)
    weights = clip_weights(len(labels), seed=seed, replicates=replicates)
    drawn = mean_average_precisions(labels, mine, weights) - mean_average_precisions(labels, theirs, weights)
    difference = measure_scores(labels, mine).mAP - measure_scores(labels, theirs).mAP
    return Delta(
        mAP=difference,
        interval=basic_interval(difference, drawn),
        against=against,
        top1_agreement=float((mine.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        largest_score_difference=float(np.abs(mine - theirs).max()),
    )
