"""Run cells on this machine, one at a time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bench.cell.answers import Context
from bench.measure.devices import resolve_local
from bench.measure.machine import Machine, Software, load_average
from bench.run.budget import Budget, seconds_of_this_process
from bench.run.isolation import Isolation, Outcome
from bench.run.launchers import RUNNERS, CellKey, Ended, Job, RunError, Runners
from bench.run.progress import Progress
from bench.sweep.cells import Cell

if TYPE_CHECKING:
    from bench.run.launchers.choose import LauncherOptions


class LocalLauncher:
    """Runs cells on this machine."""

    def __init__(
        self, isolation: Isolation | None = None, runners: Runners = RUNNERS, budget: Budget | None = None
    ) -> None:
        """With a `budget`, only cells start that should end in time; one that overruns is ended without a record."""
        self._budget = budget
        self._isolation = isolation
        self._runners = runners
        self._features: Any = None
        self._machines: Mapping[str, tuple[Machine, Software]] = {}

    def __enter__(self) -> LocalLauncher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def resolve(self, device: str) -> str:
        """Return `cpu` or `cuda`; a GPU type is `cuda` where this machine has it."""
        return resolve_local(device)

    def survey(self, cells: Sequence[Cell], progress: Progress) -> Mapping[str, tuple[Machine, Software]]:
        """Return this machine with each of the devices."""
        if self._isolation is None:
            progress.say("Loading PyTorch ...")
            self._isolation = Isolation()
        threads = cells[0].measure.threads if cells else None
        devices = dict.fromkeys(cell.device for cell in cells)
        self._machines = {device: _get(self._isolation.run(self._runners.probe, device, threads)) for device in devices}
        return self._machines

    def prepare(self, cells: Sequence[Cell], cache: Path, progress: Progress) -> None:
        """Make the features that the quality cells share, where there are such cells."""
        assert self._isolation is not None
        cell = next((cell for cell in cells if cell.data is not None), None)
        if cell is None or cell.data is None:
            return
        what = f"{cell.data.clips} clips of {cell.data.dataset}, {cell.data.split}"
        progress.say(f"Preparing {what} (kept in the cache) ...")
        arguments = (cell.data, cell.model, cache, cell.measure.threads, True)
        limit = self._budget.left() if self._budget else None
        outcome = self._isolation.run(self._runners.prepare, *arguments, time_limit=limit)
        if outcome.status == "timeout" and self._budget:
            progress.say("the time was up before the clips were prepared")
            return
        self._features = _get(outcome)
        if self._features is None:
            return
        if cut := self._features.cut:
            progress.say(f"{cut} of {what} are longer than the model's input; their end is not heard")
        for fault in self._features.skipped.values():
            progress.say(f"left out: {fault}")

    def run(self, jobs: Sequence[Job], progress: Progress) -> Generator[Ended]:
        """Run the jobs in order; with a budget those that fit, and none whose reference was left out."""
        assert self._isolation is not None
        left: set[CellKey] = set()
        for job in jobs:
            limit = job.cell.measure.time_limit_s
            if self._budget:
                if job.after in left or not self._budget.allows(job.cell):
                    left.add(job.key)
                    continue
                limit = min(limit, self._budget.left())
            progress.begin(job.cell)
            context = Context(features=self._features, reference=job.reference())
            started, before = datetime.now(UTC), load_average()
            outcome = self._isolation.run(self._runners.answer, job.cell, context, time_limit=limit)
            if outcome.status == "timeout" and limit < job.cell.measure.time_limit_s:
                left.add(job.key)  # the run's time was up, not the cell's
                continue
            if self._budget and outcome.status in ("ok", "timeout"):  # what crashed says nothing about the others
                self._budget.took(job.cell, (datetime.now(UTC) - started).total_seconds())
            machine, software = self._machines[job.cell.device]
            yield Ended(
                cell=job.cell,
                outcome=outcome,
                machine=machine,
                software=software,
                started=started,
                finished=datetime.now(UTC),
                load=(before, load_average()),
            )


def local_launcher(options: LauncherOptions) -> LocalLauncher:
    """Return the launcher of this machine."""
    minutes = options.minutes
    return LocalLauncher(budget=None if minutes is None else Budget(minutes, used=seconds_of_this_process()))


def _get(outcome: Outcome) -> Any:
    if outcome.status != "ok":
        raise RunError(outcome.message)
    return outcome.value
