"""The unmerged model's time across the cells of a panel: its work is the same in each, so an odd time casts doubt.

Interleaving takes a machine's drift out of a ratio only if the drift slows all arms alike. Where the unmerged model
itself is far off, nothing shows that it did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.records.schema import Record
from bench.records.speedup import clip_seconds
from bench.sweep.cells import canonical
from bench.sweep.engines import ASKED_ATTENTION

FAR = 1.25
"""Largest factor between the unmerged model's time in a cell and its median over the cells of the panel."""
TRUSTED = ("ok", "noisy")
"""Statuses of records whose times count towards a panel's median."""


@dataclass(frozen=True, kw_only=True)
class Unmerged:
    """The unmerged model's time in a cell whose status can be trusted."""

    machine: str
    cell: str
    """Id of the cell."""
    panel: str
    """Everything that the time depends on, as one text: the same for all cells of a panel."""
    seconds: float
    """Median seconds per clip."""


def unmerged_of(record: Record) -> Unmerged | None:
    """Return the unmerged model's time in a record; None where it was not timed, or cannot be trusted."""
    part = record.performance
    if record.status not in TRUSTED or part is None or "unmerged" not in part.arms:
        return None
    seconds = float(np.median(clip_seconds(part.arms["unmerged"])))
    return Unmerged(machine=record.machine.key, cell=record.cell.id, panel=_panel(record), seconds=seconds)


def far_cells(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Return (machine, cell) -> reason for every record whose unmerged model's time is far from its panel's median."""
    return far_of(map(unmerged_of, records))


def far_of(times: Iterable[Unmerged | None]) -> dict[tuple[str, str], str]:
    """Return what `far_cells` does, from times that were already extracted from the records."""
    panels: dict[str, list[Unmerged]] = defaultdict(list)
    for time in times:
        if time is not None:
            panels[time.panel].append(time)
    found = {}
    for panel in panels.values():
        usual = float(np.median([time.seconds for time in panel]))
        for time in panel:
            if not 1 / FAR <= time.seconds / usual <= FAR:
                found[time.machine, time.cell] = (
                    f"the unmerged model took {time.seconds * 1e3:.4g} ms a clip, {time.seconds / usual:.2f} times its "
                    f"median over the {len(panel)} cells of the panel"
                )
    return found


def in_doubt(record: Record, why: str) -> Record:
    """Return a record that is not written yet as `disturbed`, for a reason that its own cell could not see."""
    part = record.performance
    if part is not None and part.disturbance is not None:
        reasons = (*part.disturbance.reasons, why)
        part = part.model_copy(update={"disturbance": part.disturbance.model_copy(update={"reasons": reasons})})
    return record.model_copy(update={"status": "disturbed", "message": why, "performance": part})


def _panel(record: Record) -> str:
    """Return everything that the unmerged model's time depends on, as one text."""
    question = record.cell.question
    measured = question.get("measure", {})
    shared: dict[str, Any] = {name: question[name] for name in ("model", "dtype", "workload")}
    shared["model"] = {name: value for name, value in shared["model"].items() if name != "stride"}  # it keeps its own
    if question["model"].get("engine") in ASKED_ATTENTION:
        shared["attention"] = question["attention"]
    shared |= {name: measured.get(name) for name in ("scope", "hop_seconds", "flush_caches", "allocator")}
    return canonical(shared | {"machine": record.machine.key})
