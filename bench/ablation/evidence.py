"""Read what was measured of every configuration of a sweep: its scores for every clip and its times in every round.

Shapes: `n` clips, `c` classes, `k` rounds, `b` bootstrap replicates.

A replicate draws the same clips for all configurations, so that differences are paired; rounds are drawn for every
record anew, as records do not share rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.records.replicates import ScoreReplicates, read_kept
from bench.records.schema import Record
from bench.records.speedup import clip_seconds
from bench.records.store import Store, hash_array
from bench.report.frame import MEASURED, ReportError
from bench.sweep.config import DataConfig
from bench.sweep.data import resolve_data
from fastast.data.datasets import get_data_set
from fastast.metrics import METRIC_OF, measure_by, replicates_by
from fastast.statistics import CLIP_REPLICATES, CLIPS_SEED, MIN_ROUNDS, Floats, clip_weights, ratio_replicates


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A value and its bootstrap replicates."""

    value: float
    """Value as measured."""
    replicates: Floats
    """Value in every bootstrap replicate, (b,); (1,) if it is the same in all."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A reduction with its measurements."""

    reduction: dict[str, Any] | None
    """The reduction as in a record; None if nothing is reduced."""
    stride: int | None = None
    """Stride between patches, if not the model's own."""
    quality: Evidence | None
    """mAP, or accuracy where clips have one label; None if not measured."""
    speedup: Evidence | None
    """Speed-up over the unmerged model in the same rounds; None if not timed, disturbed, or of too few rounds."""
    throughput: float | None
    """Clips per second, as measured; None if not timed, or disturbed."""
    macs_ratio: float | None
    """MACs of the unmerged model over those of the configuration."""

    @property
    def is_unmerged(self) -> bool:
        """Whether it is the unmerged model, at its own stride, with which the others are compared."""
        return self.reduction is None and self.stride is None


def read_evidence(records: Sequence[Record], results: Path, labels: np.ndarray | None = None) -> list[Configuration]:
    """Return the measurements of every configuration of one sweep on one machine, in the order of the records.

    `labels`: (n, c), read from the data set unless given. Raises ReportError for predictions that are missing, or that
    belong to labels other than those of the data set here.
    """
    found: dict[str, dict[str, Any]] = {}
    drawn: dict[str, Any] = {"labels": labels}
    for record in records:
        if record.status not in MEASURED:
            continue
        question = record.cell.question
        asked = {"reduction": question["reduction"], "stride": question.get("model", {}).get("stride")}
        entry = found.setdefault(_key(**asked), dict(asked))
        if record.model is not None:
            entry["macs_ratio"] = record.model.macs_unmerged / record.model.macs_per_clip
        if record.quality is not None:
            entry["quality"] = _quality(record, results, drawn)
        elif record.performance is not None and record.status != "disturbed":
            entry |= _speed(record)
    return [
        Configuration(
            reduction=entry["reduction"],
            stride=entry["stride"],
            **{name: entry.get(name) for name in ("quality", "speedup", "throughput", "macs_ratio")},
        )
        for entry in found.values()
    ]


def _key(reduction: dict[str, Any] | None, stride: int | None) -> str:
    return f"{stride} " + ("unmerged" if reduction is None else repr(sorted(reduction.items())))


def _quality(record: Record, results: Path, drawn: dict[str, Any]) -> Evidence:
    path = Store(results, record.machine.key, record.sweep).predictions_path(record.cell.id)
    if not path.is_file():
        raise ReportError(f"ablation: {path} is missing; differences are computed from the predictions for each clip")
    kept, hashes = read_kept(path)
    if drawn["labels"] is None:
        drawn["labels"], _ = labels_of(record)
    labels = drawn["labels"]
    if len(labels) != kept.shape[0] or hash_array(labels) != hashes.get("labels_sha256"):
        raise ReportError(f"ablation: {path} belongs to clips or labels other than those of the data set here")
    if "weights" not in drawn:
        drawn["weights"] = clip_weights(len(labels), seed=CLIPS_SEED, replicates=CLIP_REPLICATES)
    assert record.quality is not None
    metric = METRIC_OF[record.quality.task]
    if isinstance(kept, ScoreReplicates):
        if (kept.metric, kept.seed, len(kept.values)) != (metric, CLIPS_SEED, CLIP_REPLICATES):
            raise ReportError(f"ablation: {path} was thinned by a FastAST version whose replicates draw other clips")
        return Evidence(value=kept.value, replicates=kept.values)
    ranking = kept.ranking
    return Evidence(
        value=measure_by(metric, labels, ranking),
        replicates=replicates_by(metric, labels, ranking, drawn["weights"]),
    )


def _speed(record: Record) -> dict[str, Any]:
    part = record.performance
    assert part is not None
    mine, unmerged = clip_seconds(part.arms["candidate"]), clip_seconds(part.arms["unmerged"])  # (k,)
    value = float(np.median(unmerged) / np.median(mine))
    found: dict[str, Any] = {"throughput": float(1 / np.median(mine))}
    if len(mine) >= MIN_ROUNDS:
        seed = int(record.cell.id[:8], 16)  # rounds are drawn for every record anew
        ratios = ratio_replicates(unmerged, mine, seed=seed, replicates=CLIP_REPLICATES)
        found["speedup"] = Evidence(value=value, replicates=ratios)
    return found


def labels_of(record: Record) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels (n, c) of a quality record's clips, and the classes, from the data set without its audio.

    Raises ReportError if the data set cannot be read here.
    """
    asked = record.cell.question["workload"]
    try:
        options = {field.name for field in dataclasses.fields(get_data_set(asked["dataset"]))}  # type: ignore[arg-type]
        own = {key: value for key, value in asked.items() if key in {*DataConfig.model_fields, *options}}
        data, chosen = resolve_data(DataConfig(**own)).open()
    except (ValueError, OSError) as error:
        raise ReportError(f"ablation: the labels of {asked.get('dataset')} cannot be read here: {error}") from None
    skipped = set(record.quality.skipped) if record.quality is not None else set()
    kept = [index for index in chosen if data.id(index) not in skipped]
    return np.stack([data.labels(index, 0) for index in kept]).astype(np.uint8), data.classes
