"""Make a sweep's folder small enough to be published, without losing a number of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.ablation.evidence import CLIPS_SEED, labels_of, read_evidence
from bench.ablation.series import sort_out
from bench.records.predictions import read_predictions
from bench.records.replicates import ScoreReplicates, encode_replicates, read_kept
from bench.records.schema import Record
from bench.records.store import Store, read_records
from bench.report.frame import MEASURED, ReportError
from fastast.metrics import METRIC_OF
from fastast.writing import write_whole


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """What became of the predictions of a sweep."""

    replaced: int
    kept: int
    """Whole, as a figure by class is drawn of them, or as later cells are compared with them."""
    before: int
    """Bytes of all."""
    after: int


def thin(results: Path, sweep: str, *, labels: np.ndarray | None = None) -> Thinned:
    """Put replicates of its score in the place of every quality cell's predictions.

    Those of the unmerged model and of the sweep's reference stay whole, as its figure by class is drawn of them.

    `labels` (n, c) are read from the data set where not given. Raises ReportError for no quality, predictions that are
    missing, or of other labels than the data set has here.
    """
    every = [record for record in read_records(results) if record.sweep == sweep] if results.is_dir() else []
    scored = [record for record in every if record.quality is not None and record.status in MEASURED]
    if not scored:
        raise ReportError(f"thin: no record of sweep {sweep!r} in {results} has a quality")
    if labels is None:
        labels, _ = labels_of(scored[0])
    counts = {"replaced": 0, "kept": 0, "before": 0, "after": 0}
    whole = _needed(scored, results, labels)
    for record in scored:
        path = Store(results, record.machine.key, sweep).predictions_path(record.cell.id)
        counts["before"] += path.stat().st_size
        if record.cell.id in whole or isinstance(read_kept(path)[0], ScoreReplicates):
            counts["kept"] += 1
        else:
            _replace(record, results, path, labels)
            counts["replaced"] += 1
        counts["after"] += path.stat().st_size
    return Thinned(**counts)


def _needed(scored: Sequence[Record], results: Path, labels: np.ndarray) -> set[str]:
    """Return the cells whose predictions stay whole."""
    found = sort_out(read_evidence(scored, results, labels))
    reductions = [None] if found.is_one_axis else [None, *(point.reduction for point in found.reference.points)]
    return {
        record.cell.id
        for record in scored
        if record.cell.question["reduction"] in reductions and "stride" not in record.cell.question["model"]
    }


def _replace(record: Record, results: Path, path: Path, labels: np.ndarray) -> None:
    assert record.quality is not None
    predictions, hashes = read_predictions(path)
    (evidence,) = read_evidence([record], results, labels)
    assert evidence.quality is not None
    clips, classes = predictions.shape
    kept = ScoreReplicates(
        shape=(clips, classes),
        metric=METRIC_OF[record.quality.task],
        seed=CLIPS_SEED,
        value=evidence.quality.value,
        values=evidence.quality.replicates,
    )
    write_whole(path, encode_replicates(kept, hashes))
