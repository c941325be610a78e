"""A run: every cell of a sweep that has no record yet, where a launcher runs them.

Only this process writes records. It can be ended at any time: what is measured is on disk, the cells that ran
are lost, and the same command goes on from there.
"""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import fastast
from bench.cells import Cell
from bench.conditions import unknown_conditions
from bench.isolation import ROOT, Isolation, Outcome
from bench.launchers import RUNNERS, Ended, Job, Launcher, RunError, Runners
from bench.launchers.local import LocalLauncher
from bench.machine import Machine, Software, load_average
from bench.progress import Progress
from bench.records import CellPart, Record, Suite
from bench.sanity import Gate
from bench.store import RecordError, Store, read_records, write_csv

FAILURES = ("error", "oom", "timeout", "implausible")
"""Records that make a run's exit code 1."""
RETRIED = (*FAILURES, "noisy")
"""Records that `--retry-failed` measures again."""


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


def run_sweep(
    name: str,
    cells: Sequence[Cell],
    options: Options,
    *,
    progress: Progress,
    isolation: Isolation | None = None,
    runners: Runners = RUNNERS,
    launcher: Launcher | None = None,
) -> Counter[str]:
    """Run the cells that have no record yet and return how many ended with which status (`skipped` among them).

    Without a `launcher` they run here, by `isolation` and `runners`. A record that is not `ok` is left alone too,
    unless `retry_failed` or `redo` asks for it. Raises RunError where nothing can run, RecordError for a record that
    cannot be read or a folder that another run writes to, OSError where a record cannot be written.
    """
    launcher = launcher or LocalLauncher(isolation, runners)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.enter_context(_end_on_sigterm())
        machines = launcher.survey(cells, progress)
        _check_distinct(machines)
        stores = {device: Store(options.results, machine.key, name) for device, (machine, _) in machines.items()}
        by_machine = {machine.key: stores[device] for device, (machine, _) in machines.items()}
        for store in by_machine.values():
            stack.enter_context(store.lock())
            read_records(store.folder)  # a bad one is met now, not after an hour of measuring
        todo = [cell for cell in cells if _wanted(stores[cell.device].read(cell.id), options)]
        counts["skipped"] = len(cells) - len(todo)
        _say_skipped(cells, stores, counts["skipped"], options, progress)
        launcher.prepare(todo, options.cache, progress)
        progress.plan(todo)
        suite = describe_suite()
        ends = stack.enter_context(closing(launcher.run(_jobs(todo, stores), progress)))
        for end in ends:
            record = _record(name, end, suite, options)
            if record.machine.key not in by_machine:
                key = record.machine.key
                progress.say(f"a node of {end.cell.device} is a {key}: its records go to its own folder")
                by_machine[key] = Store(options.results, key, name)
                stack.enter_context(by_machine[key].lock())
            store = by_machine[record.machine.key]
            if end.outcome.status == "ok" and end.outcome.value.scores is not None:
                store.write_predictions(end.cell.id, end.outcome.value.scores, end.outcome.value.hashes)
            store.write(record)
            counts[record.status] += 1
            progress.end(end.cell, record)
        for store in by_machine.values():
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
    *,
    finished: datetime | None = None,
    load_after: float | None = None,
) -> Record:
    """Return the record of an outcome; a cell that failed keeps its message and the machine's facts.

    Without `finished` it ended now and here, where `load_after` is then read.
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
        status="implausible" if failed else "noisy" if value is not None and value.noisy else outcome.status,
        message=_message(value, failed) if value is not None else outcome.message,
        started=started,
        finished=finished,
        command=command,
        suite=suite,
        machine=machine,
        software=software,
        conditions=conditions.model_copy(update={"load": (load_before, load_after)}),
        gates=value.gates if value is not None else (),
        model=value.model if value is not None else None,
        attention=value.attention if value is not None else None,
        engine=value.engine if value is not None else None,
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
    write_csv(read_records(store.folder), path)
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


def _check_distinct(machines: Mapping[str, tuple[Machine, Software]]) -> None:
    """Raise RunError where two devices are the same machine, whose records would have the same files."""
    devices: dict[str, str] = {}
    for device, (machine, _) in machines.items():
        other = devices.setdefault(machine.key, device)
        if other != device:
            raise RunError(f"'{other}' and '{device}' are the same machine, {machine.key}; give one of them")


def _jobs(todo: Sequence[Cell], stores: Mapping[str, Store]) -> list[Job]:
    """Return the cells as jobs: one that is compared with the unmerged model's comes after it."""
    keys = {(cell.id, cell.device) for cell in todo}
    jobs = []
    for cell in todo:
        unmerged = _unmerged(cell)
        after = (unmerged.id, unmerged.device) if unmerged is not None else None
        reference = partial(_reference, cell, stores[cell.device])
        jobs.append(Job(cell=cell, reference=reference, after=after if after in keys else None))
    return jobs


def _record(name: str, end: Ended, suite: Suite, options: Options) -> Record:
    before, after = end.load
    return make_record(
        name,
        end.cell,
        end.outcome,
        suite,
        end.machine,
        end.software,
        options.command,
        end.started,
        before,
        finished=end.finished,
        load_after=after,
    )


def _unmerged(cell: Cell) -> Cell | None:
    """Return the unmerged model's cell that a quality cell is compared with."""
    if cell.kind != "quality" or cell.reduction is None:
        return None
    return replace(cell, reduction=None, attention="math" if cell.attention == "math" else "auto")


def _reference(cell: Cell, store: Store) -> tuple[str, Path] | None:
    """Return id and predictions of the unmerged model's quality cell, where they are."""
    unmerged = _unmerged(cell)
    if unmerged is None:
        return None
    path = store.predictions_path(unmerged.id)
    try:
        record = store.read(unmerged.id)
    except RecordError:
        return None
    return (unmerged.id, path) if record is not None and record.status == "ok" and path.exists() else None


def _message(value: Any, failed: Sequence[Gate]) -> str:
    """Return what is wrong with a measurement, empty where nothing is."""
    if failed:
        return "; ".join(f"{gate.name}: {gate.message}" for gate in failed)
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
