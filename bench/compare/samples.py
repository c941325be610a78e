"""One side of a comparison: what a folder of records measured, cell by cell.

Shapes: `k` rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.sweep.complaints import ConfigError

if TYPE_CHECKING:
    from bench.records.schema import Record

Unit = Literal["ms", "ms per clip", "ratio"]
Standing = Literal["", "disturbed", "implausible"]
NOT_JUDGED: tuple[Standing, ...] = ("disturbed", "implausible")
"""Records whose times say nothing, the graver last: something else was at work, twice; or a sanity gate failed."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one side measured of one cell."""

    title: str
    """The cell in one short line."""
    machine: str
    """Key of the machine."""
    rounds: tuple[float, ...]
    """Median of every round, (k,) seconds per batch or per clip; or its ratio to that of another arm."""
    unit: Unit = "ms"
    """What medians are shown in."""
    batch_size: int | None = None
    """Clips a batch where it was searched, and can therefore differ between the sides."""
    software: str = ""
    """Version of PyTorch."""
    standing: Standing = ""
    """Why its times say nothing, of several records the gravest reason; empty where they do."""


Side = Mapping[tuple[str, str], Sample]
"""Samples by machine and cell."""


def load_side(folder: Path, relative_to: str | None = None) -> dict[tuple[str, str], Sample]:
    """Read the performance cells of a folder; the rounds of several records of a cell are put together.

    `relative_to` divides by an arm of the same rounds, which takes the machine's drift away, and with it whatever slows
    both. Raises ConfigError for a folder without such cells, RecordError for a bad record.
    """
    from bench.records.store import read_records

    if not folder.is_dir():
        raise ConfigError([f"{folder}: neither a folder nor a git revision; give two of the one or two of the other"])
    found: dict[tuple[str, str], Sample] = {}
    for record in read_records(folder):
        if record.performance is None or (relative_to is not None and relative_to not in record.performance.arms):
            continue
        sample = _sample(record, relative_to)
        key = (sample.machine, record.cell.id)
        if key in found:
            before = found[key]
            sample = replace(
                sample,
                rounds=before.rounds + sample.rounds,
                standing=gravest(before.standing, sample.standing),
            )
        found[key] = sample
    if not found:
        arm = f" with the arm {relative_to!r}" if relative_to else ""
        raise ConfigError([f"{folder}: has no record of a performance cell{arm}; run a sweep with --results {folder}"])
    return found


def gravest(*standings: Standing) -> Standing:
    """Return the gravest of some standings."""
    return max(standings, key=("", *NOT_JUDGED).index)


def _sample(record: Record, relative_to: str | None) -> Sample:
    from bench.records.speedup import clip_seconds
    from fastast.statistics import round_medians

    part = record.performance
    assert part is not None
    arm = part.arms["candidate"]
    searched = part.search is not None
    unit: Unit = "ms"
    if relative_to is not None:
        rounds, unit = clip_seconds(arm) / clip_seconds(part.arms[relative_to]), "ratio"
    elif searched:
        rounds, unit = clip_seconds(arm), "ms per clip"
    else:
        rounds = round_medians(arm.seconds, arm.iterations_per_round)
    question = record.cell.question
    reduction = question.get("reduction") or {}
    stride = question.get("model", {}).get("stride")
    asked = [str(reduction[name]) for name in ("method", "schedule") if name in reduction]
    what = " ".join([*([f"stride {stride}"] if stride else []), *asked]) or "unmerged"
    model = record.model.name if record.model else ""
    batch = "best batch" if searched else f"batch {arm.batch_size}"
    return Sample(
        title=" ".join(filter(None, (model, what, batch, question.get("dtype")))),
        machine=record.machine.key,
        rounds=tuple(map(float, rounds)),
        unit=unit,
        batch_size=arm.batch_size if searched else None,
        software=record.software.torch,
        standing=next((standing for standing in NOT_JUDGED if standing == record.status), ""),
    )
