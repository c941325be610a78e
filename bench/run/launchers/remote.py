"""Shared by the cluster launchers: from a job to a node's order, and from the node's report to how the cell ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.measure.devices import on_node
from bench.run.isolation import Outcome
from bench.run.launchers import Ended, Job, Runners
from bench.run.launchers.node import CellOrder, NodeFacts, Question, Report, code_digest, weights_path
from bench.sweep.cells import Cell, ModelRef

ATTEMPTS = 3
"""Number of times that a cell is started while its worker, node or job gets lost; then it has failed."""


def question(cells: Sequence[Cell], device: str, runners: Runners) -> Question:
    """Return the question to a node before it gets the cells of a device."""
    first = next(cell for cell in cells if cell.device == device)
    return Question(
        device=on_node(device),
        threads=first.measure.threads,
        model=_model(first.model),
        code=code_digest(),
        runners=runners,
    )


def order(job: Job, cache: Path | None, runners: Runners) -> CellOrder:
    """Return a job as a node gets it: a GPU type becomes `cuda`, and paths of checkpoint and cache become absolute."""
    reference = job.reference()
    return CellOrder(
        cell=replace(job.cell, device=on_node(job.cell.device), model=_model(job.cell.model)),
        reference=None if reference is None else (reference[0], reference[1].read_bytes()),
        cache=None if cache is None else cache.resolve(),
        code=code_digest(),
        runners=runners,
    )


def ended(job: Job, report: Report, known: NodeFacts) -> Ended:
    """Return how a job ended; `known` describes its node where that could not describe itself again."""
    facts = report.facts or known
    return Ended(
        cell=job.cell,
        outcome=report.outcome,
        machine=facts.machine,
        software=facts.software,
        started=report.started,
        finished=report.finished,
        load=report.load,
    )


def failed(job: Job, message: str, known: NodeFacts, *, status: str = "error") -> Ended:
    """Return the failed end of a job that no node reported."""
    now = datetime.now(UTC)
    return Ended(
        cell=job.cell,
        outcome=Outcome(status="oom" if status == "oom" else "error", message=message),
        machine=known.machine,
        software=known.software,
        started=now,
        finished=now,
        load=(None, None),
    )


def _model(model: ModelRef) -> ModelRef:
    return model if model.path is None else replace(model, path=weights_path(model).resolve())
