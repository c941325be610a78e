"""One side of a comparison: what a folder of records measured, cell by cell.

Shapes: `k` rounds, or launches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.sweep.complaints import ConfigError

if TYPE_CHECKING:
    from bench.records.schema import Performance, Record

Unit = Literal["ms", "ms per clip", "ratio"]
Standing = Literal["", "disturbed", "implausible", "timeout", "oom", "error"]
FAILED: tuple[Standing, ...] = ("implausible", "timeout", "oom", "error")
"""Standings of cells that failed, or whose times a sanity gate refused."""
NOT_JUDGED: tuple[Standing, ...] = ("disturbed", *FAILED)
"""Standings of cells whose times say nothing, or that have none, the gravest last."""
COMMON = "unmerged"
"""The arm that cells are judged relative to by default: every sweep has it."""
TIMES_ALONE = "none"
"""Value of `--relative-to` for times without an arm."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one side measured of one cell."""

    title: str
    """The cell in one short line."""
    machine: str
    """Key of the machine."""
    rounds: tuple[float, ...]
    """Median of every round, (k,) seconds per batch or per clip, or its ratio to that of another arm; for revisions,
    the median of every launch. Empty where nothing was timed."""
    relative: tuple[float, ...] = ()
    """Ratio to the common arm in the same rounds, (k,); empty where there is none or it is not asked for."""
    of_launches: bool = False
    """Whether `rounds` are launches, each a process of its own."""
    unit: Unit = "ms"
    """Unit that medians are shown in."""
    batch_size: int | None = None
    """Clips per batch where this was searched for, and can therefore differ between the sides."""
    software: str = ""
    """Version of PyTorch."""
    standing: Standing = ""
    """Why its times say nothing, for several records the gravest reason; empty where they can be judged."""


Side = Mapping[tuple[str, str], Sample]
"""Samples by machine and cell."""


def load_side(folder: Path, relative_to: str | None = None) -> dict[tuple[str, str], Sample]:
    """Read the performance cells of a folder; rounds from several records of one cell are pooled.

    `relative_to` divides times by those of an arm of the same rounds, which cancels how fast machine and process
    happened to be, and with it whatever slows both; `none` takes only times; by default there are times and their
    ratios to the common arm. Raises ConfigError for a folder without such cells, RecordError for a bad record.
    """
    from bench.records.store import read_records

    if not folder.is_dir():
        raise ConfigError([f"{folder}: neither a folder nor a git revision; give two folders, or two revisions"])
    found: dict[tuple[str, str], Sample] = {}
    arm = None if relative_to == TIMES_ALONE else relative_to
    for record in read_records(folder):
        part = record.performance
        if record.cell.kind != "performance" or (part is not None and arm is not None and arm not in part.arms):
            continue
        sample = _sample(record, relative_to)
        key = (sample.machine, record.cell.id)
        if key in found:
            before = found[key]
            sample = replace(
                sample,
                rounds=before.rounds + sample.rounds,
                relative=before.relative + sample.relative if before.relative and sample.relative else (),
                standing=gravest(before.standing, sample.standing),
            )
        found[key] = sample
    if not found:
        lacking = f" with the arm {arm!r}" if arm else ""
        raise ConfigError(
            [f"{folder}: has no record of a performance cell{lacking}; run a sweep with --results {folder}"]
        )
    return found


def gravest(*standings: Standing) -> Standing:
    """Return the gravest of some standings."""
    return max(standings, key=("", *NOT_JUDGED).index)


def _sample(record: Record, relative_to: str | None) -> Sample:
    question = record.cell.question
    reduction = question.get("reduction") or {}
    stride = question.get("model", {}).get("stride")
    asked = [str(reduction[name]) for name in ("method", "schedule") if name in reduction]
    what = " ".join([*([f"stride {stride}"] if stride else []), *asked]) or "unmerged"
    model = record.model.name if record.model else ""
    size = question.get("workload", {}).get("batch_size")
    batch = "best batch" if size == "best" else f"batch {size}"
    timed = {} if record.performance is None else _timed(record.performance, relative_to)
    return Sample(
        title=" ".join(filter(None, (model, what, batch, question.get("dtype")))),
        machine=record.machine.key,
        software=record.software.torch,
        standing=next((standing for standing in NOT_JUDGED if standing == record.status), ""),
        **({"rounds": ()} | timed),
    )


def _timed(part: Performance, relative_to: str | None) -> dict[str, Any]:
    """Return the fields of a sample that come from times."""
    from bench.records.speedup import clip_seconds
    from fastast.statistics import round_medians

    arm, searched = part.arms["candidate"], part.search is not None
    beside = {name: tuple(map(float, clip_seconds(arm) / clip_seconds(other))) for name, other in part.arms.items()}
    size = arm.batch_size if searched else None
    if relative_to not in (None, TIMES_ALONE):
        return {"rounds": beside[relative_to], "unit": "ratio", "batch_size": size}
    times = clip_seconds(arm) if searched else round_medians(arm.seconds, arm.iterations_per_round)
    return {
        "rounds": tuple(map(float, times)),
        "relative": beside.get(COMMON, ()) if relative_to is None else (),
        "unit": "ms per clip" if searched else "ms",
        "batch_size": size,
    }
