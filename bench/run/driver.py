"""A run: measure every cell of a sweep that has no record yet, wherever a launcher runs cells.

Only this process writes records. It can be ended at any time: what was measured is on disk, only the cells that were
running are lost, and the same command resumes from there.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from bench.measure.machine import Machine, Software
from bench.records.machines import timed_on, unlike, why_apart
from bench.records.store import RecordError, Store, each_record
from bench.run.isolation import Isolation
from bench.run.launchers import RUNNERS, CellKey, Job, Launcher, RunError, Runners
from bench.run.launchers.local import LocalLauncher
from bench.run.progress import Progress
from bench.run.writer import ATTEMPTS, RecordWriter
from bench.sweep.cells import Cell

FAILURES = ("error", "oom", "timeout", "implausible")
"""Statuses of records that make a run's exit code 1."""
RETRIED = (*FAILURES, "noisy", "disturbed")
"""Statuses of records that `--retry-failed` measures again."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run."""

    results: Path
    """Root folder of all results."""
    cache: Path
    """Folder for clips and features."""
    redo: bool = False
    """Measure every cell again."""
    retry_failed: bool = False
    """Measure cells again whose record is not `ok`."""
    command: tuple[str, ...] = ()
    """The command line to record, without paths of this machine."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """State of a run's cells when it is over."""

    measured: Counter[str] = field(default_factory=Counter)
    """Number of cells that it measured, by the status of their last record."""
    before: Counter[str] = field(default_factory=Counter)
    """Number of cells that already had a record and were left alone, by its status."""
    left: tuple[Cell, ...] = ()
    """Cells that there was no time to measure, or to measure again."""
    stale: Counter[str] = field(default_factory=Counter)
    """Number of cells in `left` whose existing record was to be replaced, by its status."""
    machines: tuple[str, ...] = ()
    """Keys of the machines behind its devices; empty where the run did not need to find out."""

    @property
    def failed(self) -> bool:
        """Whether some cell has no answer, in a record of this run or of an earlier one."""
        return any(counts[status] for counts in (self.measured, self.before, self.stale) for status in FAILURES)

    def __str__(self) -> str:
        parts = [f"{count} {status}" for status, count in sorted(self.measured.items()) if count]
        if self.before:
            old = ", ".join(f"{count} {status}" for status, count in sorted(self.before.items()))
            parts.append(f"{self.before.total()} skipped ({old})")
        if self.left:
            parts.append(f"{len(self.left)} left")
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
    """Run the cells that have no record yet and return the state of all cells.

    Disturbed cells are measured again at the end; differences to an unmerged model that was measured after them are
    computed again. Without a `launcher`, cells run here, by `isolation` and `runners`.
    A record that is not `ok` is left alone too, unless `retry_failed` or `redo` is set, or its run ended before
    measuring it again. Raises RunError where cells cannot run, or their times could not be compared with those that are
    there, RecordError for a record that cannot be read or a folder that another run writes to, OSError where a record
    cannot be written.
    """
    launcher = launcher or LocalLauncher(isolation, runners)
    with ExitStack() as stack:
        stack.enter_context(end_on_sigterm())
        machines = launcher.survey(cells, progress)
        _check_distinct(machines)
        stores = {device: Store(options.results, machine.key, name) for device, (machine, _) in machines.items()}
        records = RecordWriter(name, options.results, options.command, machines, stores, progress, stack)
        todo, before, replaced = list[Cell](), dict[CellKey, str](), dict[CellKey, str]()
        for cell in cells:
            head = stores[cell.device].head(cell.id)
            if head is None or is_wanted(head.status, options):
                todo.append(cell)
                if head is not None:
                    replaced[cell.id, cell.device] = head.status
            else:
                before[cell.id, cell.device] = head.status
        _check_same(machines, stores, [*todo, *records.disturbed(cells)], cells, progress)
        say_skipped(Counter(before.values()), len(cells), options, progress)
        launcher.prepare(todo, options.cache, progress)
        progress.plan(todo)
        for end in stack.enter_context(closing(launcher.run(_jobs(todo, stores), progress))):
            records.take(end)
        done = set(records.status)
        left = [cell for cell in todo if (cell.id, cell.device) not in done]
        again = records.disturbed(cells)
        if again:
            progress.say(f"Measuring again what was disturbed: {len(again)} of {len(cells)} cells")
            progress.expect(cell for cell in again if not records.expected(cell))
            done.clear()
            for end in stack.enter_context(closing(launcher.run(_jobs(again, stores), progress))):
                records.take(end, attempt=ATTEMPTS)
                done.add((end.cell.id, end.cell.device))
            done |= {(cell.id, cell.device) for cell in left}  # these are counted as left already
            left += [cell for cell in again if (cell.id, cell.device) not in done]
        records.compare_again(cells)
        records.export()
        kept = Counter(status for key, status in before.items() if key not in records.status)
        return RunSummary(
            measured=Counter(records.status.values()),
            before=kept,
            left=tuple(left),
            stale=Counter(replaced[key] for cell in left if (key := (cell.id, cell.device)) in replaced),
            machines=tuple(machine.key for machine, _ in machines.values()),
        )


def is_wanted(status: str, options: Options) -> bool:
    """Return whether a cell whose record has this status is to be measured again."""
    return options.redo or (options.retry_failed and status in RETRIED)


def say_skipped(before: Counter[str], total: int, options: Options, progress: Progress) -> None:
    """Tell what happens to the cells that have records."""
    if before:
        progress.say(f"{before.total()} of {total} cells have a record already (--redo measures them again)")
    failed = {status: count for status, count in before.items() if status != "ok"}
    if failed and not options.retry_failed:
        listed = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        progress.say(f"of those, {listed}: left as they are (--retry-failed measures them again)")


def _check_distinct(machines: Mapping[str, tuple[Machine, Software]]) -> None:
    """Raise RunError where two devices are the same machine: their records would share files."""
    devices: dict[str, str] = {}
    for device, (machine, _) in machines.items():
        other = devices.setdefault(machine.key, device)
        if other != device:
            raise RunError(f"'{other}' and '{device}' are the same machine, {machine.key}; give one of them")


def _check_same(
    machines: Mapping[str, tuple[Machine, Software]],
    stores: Mapping[str, Store],
    todo: Sequence[Cell],
    cells: Sequence[Cell],
    progress: Progress,
) -> None:
    """Raise RunError where new times would join those of another machine or PyTorch version under the same key.

    Where nothing is to be timed, but the records already mix two, only a warning is printed.
    """
    for device, store in stores.items():
        again = {cell.id for cell in todo if cell.device == device}
        stay = (one for one in each_record(store.folder) if one.performance is not None and one.cell.id not in again)
        if not any(cell.kind == "performance" for cell in todo if cell.device == device):
            if apart := why_apart(stay):
                progress.say(f"{apart} (--redo)")
            continue
        for record in stay:
            if words := unlike(timed_on(record.machine, record.software), timed_on(*machines[device])):
                known = record.cell.id in {cell.id for cell in cells}
                way = "measure all cells again (--redo)" if known else "move that record away: the sweep lacks its cell"
                raise RunError(
                    f"{store.folder}: the times of cell {record.cell.id} cannot be compared with this machine's; there "
                    f"and here, {'; '.join(words)}. Give another folder of results (--results FOLDER), or {way}"
                )


def _jobs(todo: Sequence[Cell], stores: Mapping[str, Store]) -> list[Job]:
    """Return the cells as jobs; one that is compared with the unmerged model's cell comes after it."""
    keys = {(cell.id, cell.device) for cell in todo}
    jobs = []
    for cell in todo:
        unmerged = cell.compared_with()
        after = (unmerged.id, unmerged.device) if unmerged is not None else None
        reference = partial(_reference, cell, stores[cell.device])
        jobs.append(Job(cell=cell, reference=reference, after=after if after in keys else None))
    return jobs


def _reference(cell: Cell, store: Store) -> tuple[str, Path] | None:
    """Return id and predictions file of the unmerged model's quality cell, None unless it is there and `ok`."""
    unmerged = cell.compared_with()
    if unmerged is None:
        return None
    path = store.predictions_path(unmerged.id)
    try:
        head = store.head(unmerged.id)
    except RecordError:
        return None
    return (unmerged.id, path) if head is not None and head.status == "ok" and path.exists() else None


@contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that the process running for it ends too."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
