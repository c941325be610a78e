"""What is kept of a training's test scores: the mAP of every bootstrap replicate of the clips, and AP by class.

The replicates of all trainings draw the same clips, so the difference of any two trainings has an interval without the
scores themselves, which would take a hundred times the space.

Shapes: `k` clips, `c` classes, `b` replicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save

from bench.study.recipes import StudyError
from bench.study.statistics.recordings import precisions_over_recordings
from fastast.metrics import average_precisions, mean_average_precisions
from fastast.scores import activation_of, to_ranking
from fastast.statistics import clip_weights
from fastast.system.writing import write_whole

REPLICATES = "replicates.safetensors"
SEED = 0
"""Seed with which replicates draw clips."""
COUNT = 1000
"""Number of replicates."""
_CLASSES, _RECORDINGS = "AP ", "recordings "
"""Prefixes of the schedule in the file's keys."""


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Bootstrap replicates of one training's test scores."""

    clips: int
    """Number of test clips."""
    labels: str
    """Hash of their labels: only replicates of the same clips can be compared."""
    by_schedule: dict[str, NDArray[np.float64]]
    """mAP of every replicate, (b,), by schedule."""
    over_recordings: dict[str, NDArray[np.float64]]
    """The same for replicates that draw recordings too; empty if these are not known, and for older files."""
    by_class: dict[str, NDArray[np.float64]]
    """Average precision of every class, (c,), by schedule, NaN for a class that no clip has; empty for older files."""


def write_replicates(scores: Path, out: Path, shares: Sequence[NDArray[np.float64]] = ()) -> Path:
    """Read the logits that a training kept; write the mAP of replicates and the AP of classes for every schedule.

    With `shares` of recordings (see `recording_shares`), also write replicates that draw recordings too.
    """
    labels, rankings = _read_rankings(scores)
    weights = clip_weights(len(labels), seed=SEED, replicates=COUNT)  # (b, k)
    found = {
        schedule: mean_average_precisions(labels, values, weights).astype(np.float32)
        for schedule, values in rankings.items()
    }
    for schedule, values in rankings.items() if shares else ():
        both = precisions_over_recordings(labels, values, weights, shares, seed=SEED)
        found[f"{_RECORDINGS}{schedule}"] = both.astype(np.float32)
    once = np.ones((1, len(labels)), np.int64)  # every clip as it is
    for schedule, values in rankings.items():
        (each,) = average_precisions(labels, values, once)  # (c,)
        found[f"{_CLASSES}{schedule}"] = each.astype(np.float32)
    found["labels"] = np.frombuffer(hashlib.sha256(labels.tobytes()).digest(), np.uint8)
    found["clips"] = np.array([len(labels)])
    write_whole(out, save(found))
    return out


def _read_rankings(path: Path) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
    """Return labels (k, c) and rankings of clips (k, c) by schedule, from logits or, in older files, from sigmoids."""
    with safe_open(path, framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        activation = activation_of(None, (file.metadata() or {}).get("activation", ""))
    labels = tensors.pop("labels")
    rankings = {}
    for key, values in tensors.items():
        kind, _, schedule = key.partition(" ")
        rankings[schedule] = to_ranking(values, activation if kind == "logits" else "sigmoid")
    return labels, rankings


def read_replicates(folder: Path) -> Replicates:
    """Return the replicates of a training. Raises StudyError if there are none."""
    path = folder / REPLICATES
    if not path.is_file():
        raise StudyError(f"{path} is missing: python -m bench study publish makes it from the scores of a training")
    found = load_file(path)
    labels, clips = found.pop("labels").tobytes().hex(), int(found.pop("clips")[0])
    values = {name: numbers.astype(np.float64) for name, numbers in found.items()}
    by_class, over_recordings = (
        {name.removeprefix(prefix): values.pop(name) for name in list(values) if name.startswith(prefix)}
        for prefix in (_CLASSES, _RECORDINGS)
    )
    return Replicates(
        clips=clips, labels=labels, by_schedule=values, over_recordings=over_recordings, by_class=by_class
    )
