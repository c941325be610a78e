"""A run: every cell of a sweep that has no record yet, one at a time, each in its own process.

Only this process writes records. It can be ended at any time: what is measured is on disk, the cell that ran
is lost, and the same command goes on from there.
"""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import fastast
from bench.answers import Context
from bench.cells import Cell
from bench.isolation import ROOT, Isolation, Outcome
from bench.machine import Machine, Software, load_average
from bench.progress import Progress
from bench.records import CellPart, Record, Suite
from bench.store import RecordError, Store, read_record, write_csv

RETRIED = ("error", "oom", "timeout", "noisy")
"""Records that `--retry-failed` measures again."""


@dataclass(frozen=True, kw_only=True)
class Runners:
    """The functions that run in processes of their own, written `module:name`."""

    probe: str = "bench.worker:probe"
    """(device, threads) -> Machine, Software."""
    prepare: str = "bench.worker:prepare"
    """(data, model, cache, threads, progress) -> FeatureSet."""
    answer: str = "bench.worker:answer"
    """(cell, context) -> Answer."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person can ask of a run."""

    results: Path
    """Root of all results."""
    cache: Path
    """Folder for clips and features."""
    redo: bool = False
    """Measure every cell again."""
    retry_failed: bool = False
    """Measure again what is not `ok`."""
    command: tuple[str, ...] = ()
    """The command line, without paths of this machine."""


class RunError(RuntimeError):
    """What keeps all cells from running."""


def run_sweep(
    name: str,
    cells: Sequence[Cell],
    options: Options,
    *,
    progress: Progress,
    isolation: Isolation | None = None,
    runners: Runners = Runners(),
) -> Counter[str]:
    """Run the cells that have no record yet and return how many ended with which status (`skipped` among them).

    A record that is not `ok` is left alone too, unless `retry_failed` or `redo` asks for it. Raises RunError where
    nothing can run, RecordError for a record that cannot be read or a folder that another run writes to, OSError
    where a record cannot be written.
    """
    if isolation is None:
        progress.say("Loading PyTorch ...")
        isolation = Isolation()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.enter_context(_end_on_sigterm())
        machines = {device: _get(isolation.run(runners.probe, device, _threads(cells))) for device in _devices(cells)}
        stores = {device: Store(options.results, machine.key, name) for device, (machine, _) in machines.items()}
        for store in stores.values():
            stack.enter_context(store.lock())
        todo = [cell for cell in cells if _wanted(stores[cell.device].read(cell.id), options)]
        counts["skipped"] = len(cells) - len(todo)
        _say_skipped(cells, stores, counts["skipped"], options, progress)
        features = _prepare(todo, options, isolation, runners, progress)
        progress.plan(todo)
        suite = describe_suite()
        for cell in todo:
            progress.begin(cell)
            store = stores[cell.device]
            context = Context(features=features, reference=_reference(cell, store))
            started, load = datetime.now(UTC), load_average()
            outcome = isolation.run(runners.answer, cell, context, time_limit=cell.measure.time_limit_s)
            machine, software = machines[cell.device]
            record = make_record(name, cell, outcome, suite, machine, software, options.command, started, load)
            if outcome.status == "ok" and outcome.value.scores is not None:
                store.write_predictions(cell.id, outcome.value.scores, outcome.value.hashes)
            store.write(record)
            counts[record.status] += 1
            progress.end(cell, record)
        for store in stores.values():
            export(store)
    return counts


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
) -> Record:
    """Return the record of an outcome; a cell that failed keeps its message and the machine's facts."""
    value = outcome.value if outcome.status == "ok" else None
    if value is not None:
        machine, software = value.machine, value.software
    return Record(
        cell=CellPart(id=cell.id, kind=cell.kind, question=cell.question),
        sweep=sweep,
        status="noisy" if value is not None and value.noisy else outcome.status,
        message=_noise_message(value) if value is not None and value.noisy else outcome.message,
        started=started,
        finished=datetime.now(UTC),
        command=command,
        suite=suite,
        machine=machine.model_copy(update={"load_before": load_before, "load_after": load_average()}),
        software=software,
        model=value.model if value is not None else None,
        attention=value.attention if value is not None else None,
        performance=value.performance if value is not None else None,
        quality=value.quality if value is not None else None,
    )


def describe_suite() -> Suite:
    """Return version and commit of the code; results that lie in the repository do not make it dirty."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "fastast", "bench", "pyproject.toml")
    return Suite(version=fastast.__version__, commit=commit, dirty=None if changes is None else bool(changes))


def export(store: Store) -> Path:
    """Write the CSV file of a sweep's records beside them and return its path."""
    path = store.folder / "cells.csv"
    records = [read_record(file) for file in sorted(store.folder.glob("*.json"))]
    write_csv(records, path)
    return path


def _wanted(record: Record | None, options: Options) -> bool:
    if record is None or options.redo:
        return True
    return options.retry_failed and record.status in RETRIED


def _say_skipped(
    cells: Sequence[Cell], stores: dict[str, Store], skipped: int, options: Options, progress: Progress
) -> None:
    if skipped:
        progress.say(f"{skipped} of {len(cells)} cells have a record already (--redo measures them again)")
    if options.redo or options.retry_failed:
        return
    read = (stores[cell.device].read(cell.id) for cell in cells)
    failed = Counter(record.status for record in read if record is not None and record.status != "ok")
    if failed:
        listed = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        progress.say(f"of those, {listed}: left as they are (--retry-failed measures them again)")


def _prepare(todo: Sequence[Cell], options: Options, isolation: Isolation, runners: Runners, progress: Progress) -> Any:
    """Make the features that the quality cells share; None where there are none of them."""
    cell = next((cell for cell in todo if cell.data is not None), None)
    if cell is None or cell.data is None:
        return None
    progress.say(f"Preparing {cell.data.clips} clips of {cell.data.split} (kept in the cache) ...")
    outcome = isolation.run(runners.prepare, cell.data, cell.model, options.cache, cell.measure.threads, True)
    return _get(outcome)


def _reference(cell: Cell, store: Store) -> tuple[str, Path] | None:
    """Return id and predictions of the unmerged model's quality cell, where they are."""
    if cell.kind != "quality" or cell.reduction is None:
        return None
    unmerged = replace(cell, reduction=None, attention="math" if cell.attention == "math" else "auto")
    path = store.predictions_path(unmerged.id)
    try:
        record = store.read(unmerged.id)
    except RecordError:
        return None
    return (unmerged.id, path) if record is not None and record.status == "ok" and path.exists() else None


def _get(outcome: Outcome) -> Any:
    if outcome.status != "ok":
        raise RunError(outcome.message)
    return outcome.value


def _devices(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.device for cell in cells))


def _threads(cells: Sequence[Cell]) -> int | None:
    return cells[0].measure.threads if cells else None


def _noise_message(value: Any) -> str:
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


@contextmanager
def _end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that its process of the moment ends with it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
