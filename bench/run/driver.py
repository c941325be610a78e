"""A run: every cell of a sweep that has no record yet, where a launcher runs them.

Only this process writes records. It can be ended at any time: what is measured is on disk, the cells that ran
are lost, and the same command goes on from there.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType

from bench.measure.machine import Machine, Software
from bench.records.schema import Record
from bench.records.store import RecordError, Store, read_records, write_csv
from bench.run.isolation import Isolation
from bench.run.launchers import RUNNERS, Job, Launcher, RunError, Runners
from bench.run.launchers.local import LocalLauncher
from bench.run.progress import Progress
from bench.run.recording import describe_suite, record_end
from bench.sweep.cells import Cell

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


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How the cells of a run stand when it is over."""

    measured: Counter[str] = field(default_factory=Counter)
    """Cells that it measured, by status."""
    before: Counter[str] = field(default_factory=Counter)
    """Cells that had a record already and were left alone, by its status."""

    @property
    def failed(self) -> bool:
        """Whether some cell has no answer, be its record of this run or of an earlier one."""
        return any(counts[status] for counts in (self.measured, self.before) for status in FAILURES)

    def __str__(self) -> str:
        parts = [f"{count} {status}" for status, count in sorted(self.measured.items()) if count]
        if self.before:
            old = ", ".join(f"{count} {status}" for status, count in sorted(self.before.items()))
            parts.append(f"{self.before.total()} skipped ({old})")
        return ", ".join(parts)


def run_sweep(
    name: str,
    cells: Sequence[Cell],
    options: Options,
    *,
    progress: Progress,
    isolation: Isolation | None = None,
    runners: Runners = RUNNERS,
    launcher: Launcher | None = None,
) -> RunSummary:
    """Run the cells that have no record yet and return how all cells stand.

    Without a `launcher` they run here, by `isolation` and `runners`. A record that is not `ok` is left alone too,
    unless `retry_failed` or `redo` asks for it. Raises RunError where nothing can run, RecordError for a record that
    cannot be read or a folder that another run writes to, OSError where a record cannot be written.
    """
    launcher = launcher or LocalLauncher(isolation, runners)
    summary = RunSummary()
    with ExitStack() as stack:
        stack.enter_context(_end_on_sigterm())
        machines = launcher.survey(cells, progress)
        _check_distinct(machines)
        stores = {device: Store(options.results, machine.key, name) for device, (machine, _) in machines.items()}
        by_machine = {machine.key: stores[device] for device, (machine, _) in machines.items()}
        for store in by_machine.values():
            stack.enter_context(store.lock())
            read_records(store.folder)  # a bad one is met now, not after an hour of measuring
        todo = []
        for cell in cells:
            record = stores[cell.device].read(cell.id)
            if record is None or _wanted(record, options):
                todo.append(cell)
            else:
                summary.before[record.status] += 1
        _say_skipped(summary.before, len(cells), options, progress)
        launcher.prepare(todo, options.cache, progress)
        progress.plan(todo)
        suite = describe_suite()
        ends = stack.enter_context(closing(launcher.run(_jobs(todo, stores), progress)))
        for end in ends:
            record = record_end(name, end, suite, options.command)
            if record.machine.key not in by_machine:
                key = record.machine.key
                progress.say(f"a node of {end.cell.device} is a {key}: its records go to its own folder")
                by_machine[key] = Store(options.results, key, name)
                stack.enter_context(by_machine[key].lock())
            store = by_machine[record.machine.key]
            if end.outcome.status == "ok" and end.outcome.value.predictions is not None:
                store.write_predictions(end.cell.id, end.outcome.value.predictions, end.outcome.value.hashes)
            store.write(record)
            summary.measured[record.status] += 1
            progress.end(end.cell, record)
        for store in by_machine.values():
            export_records(store)
    return summary


def export_records(store: Store) -> Path:
    """Write the CSV file of a sweep's records beside them and return its path."""
    path = store.folder / "cells.csv"
    write_csv(read_records(store.folder), path)
    return path


def _wanted(record: Record, options: Options) -> bool:
    return options.redo or (options.retry_failed and record.status in RETRIED)


def _say_skipped(before: Counter[str], total: int, options: Options, progress: Progress) -> None:
    if before:
        progress.say(f"{before.total()} of {total} cells have a record already (--redo measures them again)")
    failed = {status: count for status, count in before.items() if status != "ok"}
    if failed and not options.retry_failed:
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
