"""Make a sweep's folder small enough to publish without losing any number of its report."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.ablation.classes import records_by_r
from bench.ablation.compare import group_records
from bench.ablation.evidence import Configuration, labels_of, read_evidence
from bench.ablation.series import sort_out
from bench.records.predictions import read_predictions
from bench.records.replicates import ScoreReplicates, encode_replicates, read_kept
from bench.records.schema import Record
from bench.records.store import Store, read_records
from bench.report.frame import MEASURED, ReportError
from fastast.metrics import METRIC_OF
from fastast.statistics import CLIPS_SEED
from fastast.system.writing import write_whole


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """Outcome of thinning a sweep's predictions."""

    replaced: int
    """Number of prediction files that were replaced."""
    kept: int
    """Number of files left as they were: whole, as the figure by class needs them, or replaced earlier."""
    before: int
    """Size of all files before, in bytes."""
    after: int
    """Size of all files now, in bytes."""


def thin(results: Path, sweep: str, *, labels: np.ndarray | None = None) -> Thinned:
    """Replace every quality cell's predictions by replicates of its score.

    Those of the unmerged model and, unless the sweep is of one axis, of its reference stay whole for the figure by
    class.

    `labels` (n, c) are read from the data set unless given. Raises ReportError if no quality was measured, or if
    predictions are missing or belong to labels other than those of the data set here; RecordError while a run writes to
    the folder.
    """
    every = [record for record in read_records(results) if record.sweep == sweep] if results.is_dir() else []
    scored = [record for record in every if record.quality is not None and record.status in MEASURED]
    if not scored:
        raise ReportError(f"thin: no quality was measured in sweep {sweep!r} in {results}")
    if labels is None:
        labels, _ = labels_of(scored[0])
    counts = {"replaced": 0, "kept": 0, "before": 0, "after": 0}
    with ExitStack() as stack:
        for machine in dict.fromkeys(record.machine.key for record in scored):
            stack.enter_context(Store(results, machine, sweep).lock())
        for own in group_records(scored).values():
            evidence = {record.cell.id: read_evidence([record], results, labels)[0] for record in own}
            found = sort_out(list(evidence.values()))
            drawn = records_by_r(found, own)
            whole = {record.cell.id for r, record in drawn.items() if r == 0 or not found.is_one_axis}
            for record in own:
                path = Store(results, record.machine.key, sweep).predictions_path(record.cell.id)
                counts["before"] += path.stat().st_size
                if record.cell.id in whole or isinstance(read_kept(path)[0], ScoreReplicates):
                    counts["kept"] += 1
                else:
                    write_whole(path, _thinned(path, record, evidence[record.cell.id]))
                    counts["replaced"] += 1
                counts["after"] += path.stat().st_size
    return Thinned(**counts)


def _thinned(path: Path, record: Record, one: Configuration) -> bytes:
    assert record.quality is not None and one.quality is not None  # noqa: PT018
    predictions, hashes = read_predictions(path)
    clips, classes = predictions.shape
    kept = ScoreReplicates(
        shape=(clips, classes),
        metric=METRIC_OF[record.quality.task],
        seed=CLIPS_SEED,
        value=one.quality.value,
        values=one.quality.replicates,
    )
    return encode_replicates(kept, hashes)
