"""Outdated differences to the unmerged model, whose cell failed at first or was measured again later.

A record's difference must be its own score minus the reference's, so one from other predictions does not add up. It is
computed again from the predictions on disk; no model runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.records.schema import Delta, Record
from bench.records.store import Store
from bench.run.progress import Progress
from bench.sweep.cells import Cell

_ROUNDING = 1e-9
"""Largest rounding error between a difference and the scores that it comes from."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The parts of a quality record that tell whether its difference is to the unmerged model's current record."""

    is_ok: bool
    clips: str
    """Hash of the clips' ids."""
    score: float
    """mAP"""
    delta: float | None
    """Recorded difference in mAP; None where there is none."""

    @classmethod
    def of(cls, record: Record) -> Scored | None:
        """Extract these parts from a record; None where it has no quality."""
        part = record.quality
        if part is None:
            return None
        delta = None if part.delta is None else part.delta.mAP
        return cls(is_ok=record.status == "ok", clips=part.ids_sha256, score=part.mAP, delta=delta)

    def is_behind(self, reference: Scored | None) -> bool:
        """Return whether the reference is usable and the difference is missing, or is to another score."""
        if reference is None or not reference.is_ok or reference.clips != self.clips:
            return False
        return self.delta is None or abs(self.score - reference.score - self.delta) > _ROUNDING


def behind(scored: Mapping[str, Scored | None], against: Mapping[str, str | None]) -> set[str]:
    """Return the cells whose difference is outdated, given cell -> its scores and cell -> its reference's id."""
    found = set()
    for cell, reference in against.items():
        mine = scored.get(cell)
        if mine is not None and reference is not None and mine.is_behind(scored.get(reference)):
            found.add(cell)
    return found


def renew(cells: Sequence[Cell], store: Store, progress: Progress) -> list[Record]:
    """Compute the differences of cells again, write the records that change, and return those.

    Where a difference cannot be computed, its record is left without one and the reason is printed. Raises RecordError
    for a bad record.
    """
    renewed, compared = [], 0
    for cell in cells:
        record = store.read(cell.id)
        if record is None or record.quality is None:
            continue
        try:
            delta = _difference(cell, record, store)
        except (ValueError, OSError) as error:
            progress.say(f"{cell.title}: no difference to the unmerged model: {error}; --redo measures it again")
            delta = None
        if delta == record.quality.delta:
            continue
        record = record.model_copy(update={"quality": record.quality.model_copy(update={"delta": delta})})
        store.write(record)
        renewed.append(record)
        compared += delta is not None
    if compared:
        progress.say(f"Compared again with the unmerged model, which was measured after them: {compared} cells")
    return renewed


def _difference(cell: Cell, record: Record, store: Store) -> Delta:
    """Compute a difference from predictions on disk. Raises ValueError or OSError where some are missing or differ."""
    from bench.cell.quality import Assessment
    from bench.records.predictions import read_predictions
    from bench.records.store import hash_array

    reference = cell.compared_with()
    assert reference is not None
    assert cell.data is not None
    assert record.quality is not None
    mine, hashes = read_predictions(store.predictions_path(cell.id))
    theirs, of = read_predictions(store.predictions_path(reference.id))
    labels = cell.data.labels(skipped=record.quality.skipped)
    if of != hashes or hash_array(labels) != hashes["labels_sha256"]:
        raise ValueError("its predictions, the unmerged model's and the data set here differ in their clips or labels")
    found = Assessment(labels, mine, record.quality.task, replicates=record.quality.replicates)
    return found.minus(replace(found, predictions=theirs), against=reference.id)
