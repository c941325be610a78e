"""The record of a cell that ended: there is one, whatever the outcome was."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import fastast
from bench.measure.conditions import unknown_conditions
from bench.measure.gates import Gate
from bench.measure.machine import Machine, Software, load_average
from bench.records.schema import CellPart, Record, Status, Suite
from bench.run.isolation import ROOT, Outcome
from bench.run.launchers import Ended
from bench.sweep.cells import Cell


def make_record(
    sweep: str,
    cell: Cell,
    outcome: Outcome,
    suite: Suite,
    machine: Machine,
    software: Software,
    command: tuple[str, ...],
    started: datetime,
    load_before: float | None,
    *,
    attempt: int = 1,
    finished: datetime | None = None,
    load_after: float | None = None,
) -> Record:
    """Return the record of an outcome; that of a failed cell has its message and the machine's facts.

    Without `finished`, the cell ended just now on this machine, and `load_after` is read from it.
    """
    if finished is None:
        finished, load_after = datetime.now(UTC), load_average()
    value = outcome.value if outcome.status == "ok" else None
    conditions = unknown_conditions()
    if value is not None:
        machine, software = value.machine, value.software
        conditions = value.conditions or conditions
    failed = [] if value is None else [gate for gate in value.gates if not gate.passed]
    return Record(
        cell=CellPart(id=cell.id, kind=cell.kind, question=cell.question),
        sweep=sweep,
        status=_status(outcome, failed),
        message=_message(value, failed) if value is not None else outcome.message,
        attempt=attempt,
        started=started,
        finished=finished,
        command=command,
        suite=suite,
        machine=machine,
        software=software,
        surroundings=value.surroundings if value is not None else None,
        conditions=conditions.model_copy(update={"load": (load_before, load_after)}),
        gates=value.gates if value is not None else (),
        model=value.model if value is not None else None,
        attention=value.attention if value is not None else None,
        engine=value.engine if value is not None else None,
        performance=value.performance if value is not None else None,
        quality=value.quality if value is not None else None,
    )


def record_end(sweep: str, end: Ended, suite: Suite, command: tuple[str, ...], attempt: int = 1) -> Record:
    """Return the record of a cell that ended at a launcher; `attempt` counts its measurements in this run."""
    before, after = end.load
    return make_record(
        sweep,
        end.cell,
        end.outcome,
        suite,
        end.machine,
        end.software,
        command,
        end.started,
        before,
        attempt=attempt,
        finished=end.finished,
        load_after=after,
    )


def describe_suite() -> Suite:
    """Return version and commit of the code; results in the repository do not make it dirty."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "fastast", "bench", "pyproject.toml")
    return Suite(version=fastast.__version__, commit=commit, dirty=None if changes is None else bool(changes))


def _status(outcome: Outcome, failed: Sequence[Gate]) -> Status:
    if outcome.status != "ok":
        return outcome.status
    if failed:
        return "implausible"
    return "disturbed" if _doubts(outcome.value) else "noisy" if outcome.value.noisy else "ok"


def _doubts(value: Any) -> tuple[str, ...]:
    part = value.performance
    return part.disturbance.reasons if part is not None and part.disturbance is not None else ()


def _message(value: Any, failed: Sequence[Gate]) -> str:
    """Return what is wrong with a measurement; empty where nothing is."""
    if failed:
        return "; ".join(f"{gate.name}: {gate.message}" for gate in failed)
    if doubts := _doubts(value):
        return "; ".join(doubts)
    if not value.noisy:
        return ""
    noise = value.performance.noise
    return (
        f"noise {noise.value:.1%} is above the limit of {noise.limit:.1%} in each of {len(noise.attempts)} attempts; "
        "other processes may be at work"
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
