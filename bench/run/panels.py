"""The unmerged model over the cells of a panel: it does the same work in each, so that a cell that differs is in doubt.

Interleaving takes a machine's drift out of a ratio only if the drift slows all arms alike. Where the unmerged model
itself is far off, nothing says that it did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.records.schema import Record
from bench.records.speedup import clip_seconds
from bench.sweep.cells import canonical

FAR = 1.25
"""Largest factor between the unmerged model's time in a cell and its median over the cells of the panel."""
TRUSTED = ("ok", "noisy")
"""Statuses of records whose times say what is usual."""


def far_cells(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Return (machine, cell) -> what is odd, for every record whose unmerged model is far from its panel's median."""
    panels: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status in TRUSTED and record.performance is not None and "unmerged" in record.performance.arms:
            panels[_panel(record)].append(record)
    found = {}
    for panel in panels.values():
        usual = float(np.median([_unmerged_seconds(record) for record in panel]))
        for record in panel:
            seconds = _unmerged_seconds(record)
            if not 1 / FAR <= seconds / usual <= FAR:
                found[record.machine.key, record.cell.id] = (
                    f"the unmerged model took {seconds * 1e3:.4g} ms a clip, {seconds / usual:.2f} of its median over "
                    f"the {len(panel)} cells of the panel"
                )
    return found


def in_doubt(record: Record, why: str) -> Record:
    """Return a record, not written yet, as `disturbed` for a reason that its own cell could not see."""
    part = record.performance
    if part is not None and part.disturbance is not None:
        reasons = (*part.disturbance.reasons, why)
        part = part.model_copy(update={"disturbance": part.disturbance.model_copy(update={"reasons": reasons})})
    return record.model_copy(update={"status": "disturbed", "message": why, "performance": part})


def _panel(record: Record) -> str:
    """Return what the unmerged model's time depends on."""
    question = record.cell.question
    measured = question.get("measure", {})
    shared: dict[str, Any] = {name: question[name] for name in ("model", "dtype", "workload")}
    shared["model"] = {name: value for name, value in shared["model"].items() if name != "stride"}  # it has its own
    shared |= {name: measured.get(name) for name in ("scope", "hop_seconds", "flush_caches", "allocator")}
    return canonical(shared | {"machine": record.machine.key})


def _unmerged_seconds(record: Record) -> float:
    assert record.performance is not None
    return float(np.median(clip_seconds(record.performance.arms["unmerged"])))
