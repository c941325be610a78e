"""Speeds of a study's schedules, from the records of the sweeps that it names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.records.machines import why_apart
from bench.records.schema import Record
from bench.records.speedup import clip_seconds, speedup_over
from bench.records.store import to_frame
from bench.report.words import ENGINE_NAMES, cell_batch_words, device_name
from bench.study.recipes import StudyError
from fastast.statistics import MIN_ROUNDS

UNMERGED = "constant:0"
Ratio = tuple[float, float, float]
"""A speed-up and both ends of its interval, which are NaN if there are too few rounds for one."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Speeds that one sweep measured, of a forward or of a training step."""

    machine: str = ""
    """Key of the machine; empty if there are no records."""
    device: str = ""
    """The machine in words."""
    workload: str = ""
    """Number format, batch size, and the engine if it is not PyTorch."""
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    """Speed-up over the unmerged model in the same rounds, by schedule."""
    unmerged_seconds: float = math.nan
    """Seconds per clip of the unmerged model, median over all records of the sweep."""

    def ratio(self, schedule: str) -> Ratio:
        """Return the speed-up of a schedule: 1 without merging, NaN if it was not measured."""
        return self.ratios.get(schedule, (1.0,) * 3 if schedule == UNMERGED and self.ratios else (math.nan,) * 3)

    def seconds(self, schedule: str) -> float:
        """Return seconds per clip: the unmerged model's over the speed-up, which makes them free of drift."""
        return self.unmerged_seconds / self.ratio(schedule)[0]


def speeds_of(sweeps: Sequence[str], records: Sequence[Record]) -> tuple[Speeds, ...]:
    """Return the speeds of each sweep, all from one machine: the one with most of the sweeps, then with most records.

    Raises StudyError if a sweep timed a schedule in more than one way, as it is unclear which is the study's, or on two
    machines or versions of PyTorch under one key.
    """
    by_machine: dict[str, list[Record]] = {}
    for record in records:
        if record.sweep in sweeps and record.performance is not None and record.status in ("ok", "noisy"):
            by_machine.setdefault(record.machine.key, []).append(record)
    here = max(by_machine.values(), key=lambda found: (len({one.sweep for one in found}), len(found)), default=[])
    if words := why_apart(here):
        raise StudyError(f"study: {words}")
    return tuple(_speeds([record for record in here if record.sweep == sweep]) for sweep in sweeps)


def _speeds(records: Sequence[Record]) -> Speeds:
    cells: dict[str, str] = {}
    ratios: dict[str, Ratio] = {}
    unmerged = []
    for record in records:
        part, reduction = record.performance, record.cell.question.get("reduction")
        if part is None or reduction is None:
            continue
        schedule = reduction["schedule"]
        if schedule in cells:
            raise StudyError(
                f"sweep {record.sweep!r} timed {schedule} more than once on {record.machine.key}, in cells "
                f"{cells[schedule]} and {record.cell.id}; the speeds of a study have one method, batch size, number "
                "format and scope: name a sweep that has only these as `speed` or `training_speed`"
            )
        cells[schedule] = record.cell.id
        estimate = speedup_over(part, "unmerged")
        ends = (estimate.low, estimate.high) if part.rounds >= MIN_ROUNDS else (math.nan, math.nan)
        ratios[schedule] = (estimate.value, *ends)
        unmerged.append(np.median(clip_seconds(part.arms["unmerged"])))
    seconds = float(np.median(unmerged)) if unmerged else math.nan
    if not ratios:
        return Speeds()
    row = to_frame(records[:1]).iloc[0]
    engine = "" if row["engine"] == "plain" else f", {ENGINE_NAMES.get(row['engine'], row['engine'])}"
    return Speeds(
        machine=records[0].machine.key,
        device=device_name(row),
        workload=f"{row['dtype']}, {cell_batch_words(row)}{engine}",
        ratios=ratios,
        unmerged_seconds=seconds,
    )


def speeds_words(forward: Speeds, steps: Speeds | None = None) -> str:
    """Return a sentence that says on which device and workload speeds were measured; empty if none were.

    forward: speeds of a forward. steps: speeds of a training step.
    """
    told = [(what, one) for what, one in (("a forward", forward), ("a training step", steps)) if one and one.machine]
    works = "; ".join(f"{what} in {one.workload}" for what, one in told)
    return f"Speeds are of {told[0][1].device}: {works}." if told else ""
