"""What a cluster node does: describe itself, and run one cell as a laptop would, in a process of its own.

Both functions run in a Ray worker or a Slurm job, which itself never touches PyTorch.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.cell.answers import Context
from bench.measure.machine import Machine, Software, load_average
from bench.run.isolation import ROOT, Isolation, Outcome
from bench.run.launchers import RunError, Runners
from bench.sweep.cells import Cell, ModelRef
from bench.sweep.resolving import hash_checkpoint


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """Machine and software of a node."""

    machine: Machine
    software: Software


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a node needs to describe and check itself before it gets cells."""

    device: str
    """`cpu` or `cuda`."""
    threads: int | None
    model: ModelRef
    code: str
    """Digest of the driver's code."""
    runners: Runners


@dataclass(frozen=True, kw_only=True)
class CellOrder:
    """A cell for a node to run."""

    cell: Cell
    """Its device is `cpu` or `cuda`."""
    reference: tuple[str, bytes] | None
    """Id and predictions of the unmerged model's cell; the node need not have access to the results."""
    cache: Path | None
    """Folder for clips and features; None for the node's own."""
    code: str
    """Digest of the driver's code."""
    runners: Runners


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a cell ended on a node."""

    outcome: Outcome
    facts: NodeFacts | None
    """Machine and software of the node; None where it could not describe itself."""
    started: datetime
    finished: datetime
    load: tuple[float | None, float | None]


def inspect(question: Question) -> NodeFacts:
    """Describe this node. Raises RunError where it cannot, or its code or weights differ from the driver's."""
    _check_like_driver(question.code, question.model)
    outcome = _facts(question.runners, question.device, question.threads)
    if outcome.status != "ok":
        raise RunError(f"it could not be described: {outcome.message}")
    facts: NodeFacts = outcome.value
    return facts


def work(order: CellOrder) -> Report:
    """Run a cell and report how it ended, however that is; features that the node's cache lacks are made first.

    A node that has never described itself can be given a cell too: its code and weights are checked here as well.
    """
    cell = order.cell
    try:
        _check_like_driver(order.code, cell.model)
    except RunError as error:
        prepared = Outcome(status="error", message=f"a node of {cell.device} cannot run this cell: {error}")
    else:
        prepared = _prepare(order)
    started, before = datetime.now(UTC), load_average()
    if prepared.status != "ok":
        outcome = prepared
    else:
        with _reference_file(order.reference) as reference:
            context = Context(features=prepared.value, reference=reference)
            outcome = _run(order.runners, order.runners.answer, cell, context, time_limit=cell.measure.time_limit_s)
    finished, after = datetime.now(UTC), load_average()
    if outcome.status == "ok":
        facts = NodeFacts(machine=outcome.value.machine, software=outcome.value.software)
    else:
        facts = _facts(order.runners, cell.device, cell.measure.threads).value
    return Report(outcome=outcome, facts=facts, started=started, finished=finished, load=(before, after))


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 of the code that measures, every Python file of `fastast` and `bench`, at the first call."""
    digest = hashlib.sha256()
    for path in sorted(path for package in ("fastast", "bench") for path in (ROOT / package).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _check_like_driver(code: str, model: ModelRef) -> None:
    """Raise RunError where this node's code or weights differ from the driver's."""
    if code_digest() != code:
        raise RunError("its FastAST differs from the driver's; give all nodes the same checkout")
    if model.sha256 is not None:
        path = weights_path(model)
        if not path.exists():
            raise RunError(f"it has no checkpoint {path}; put it on every node at that path")
        if hash_checkpoint(path) != model.sha256:
            raise RunError(f"its checkpoint {path} differs from the driver's")


def weights_path(model: ModelRef) -> Path:
    """Return where a trained model's weights are."""
    from fastast.zoo import EMBEDDED

    return EMBEDDED[model.name] if model.path is None else model.path


def call(environment: dict[str, str | None], function: str, *args: Any) -> Any:
    """Call a function with environment variables set, or unset where None."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)(*args)


_isolation: Isolation | None = None


def _run(runners: Runners, function: str, *args: Any, time_limit: float | None = None) -> Outcome:
    """Run a function in a process of its own; the server of these processes lives as long as this worker."""
    global _isolation
    if _isolation is None:
        _isolation = Isolation(preload=(runners.answer.partition(":")[0],))
    # A worker may get another GPU than it had when the server started.
    environment = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}
    return _isolation.run("bench.run.launchers.node:call", environment, function, *args, time_limit=time_limit)


def _facts(runners: Runners, device: str, threads: int | None) -> Outcome:
    outcome = _run(runners, runners.probe, device, threads)
    if outcome.status != "ok":
        return outcome
    machine, software = outcome.value
    return Outcome(status="ok", value=NodeFacts(machine=machine, software=software))


def _prepare(order: CellOrder) -> Outcome:
    """Return the features of a quality cell, made by one node at a time where several share the cache."""
    from fastast.data.soundscapes.cache import default_folder

    cell = order.cell
    if cell.data is None:
        return Outcome(status="ok")
    cache = order.cache or default_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".preparing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        arguments = (cell.data, cell.model, cache, cell.measure.threads, False)
        return _run(order.runners, order.runners.prepare, *arguments)


@contextmanager
def _reference_file(reference: tuple[str, bytes] | None) -> Iterator[tuple[str, Path] | None]:
    if reference is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.npz"
        path.write_bytes(reference[1])
        yield reference[0], path
