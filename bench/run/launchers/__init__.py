"""Where cells run: on this machine, on the nodes of a Ray cluster, or in Slurm jobs.

A launcher runs cells and tells how each ended, in any order. It writes no records: only the driver that calls it does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bench.measure.machine import Machine, Software
from bench.run.isolation import Outcome
from bench.run.progress import Progress
from bench.sweep.cells import Cell

CellKey = tuple[str, str]
"""Id and device of a cell."""


class RunError(RuntimeError):
    """The reason why cells cannot run."""


@dataclass(frozen=True, kw_only=True)
class Runners:
    """The functions that run in processes of their own, written `module:name`."""

    probe: str = "bench.cell.worker:probe"
    """(device, threads) -> Machine, Software."""
    prepare: str = "bench.cell.worker:prepare"
    """(data, model, cache, threads, progress) -> FeatureSet."""
    answer: str = "bench.cell.worker:answer"
    """(cell, context) -> Answer."""


RUNNERS = Runners()
"""The functions that really measure."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell to measure."""

    cell: Cell
    reference: Callable[[], tuple[str, Path] | None]
    """Returns id and predictions of the unmerged model's cell; to be called when the cell starts, not before."""
    after: CellKey | None = None
    """Key of the cell that this one's reference comes from, where that cell is to be measured too."""

    @property
    def key(self) -> CellKey:
        """Id and device of the cell."""
        return self.cell.id, self.cell.device


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a cell ended and where."""

    cell: Cell
    outcome: Outcome
    """Its value is an Answer."""
    machine: Machine
    """The machine that measured, or failed to."""
    software: Software
    started: datetime
    finished: datetime
    load: tuple[float | None, float | None]
    """Load average of the machine before and after."""


class Launcher(Protocol):
    """Runs cells somewhere; a context manager whose exit ends whatever still runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def resolve(self, device: str) -> str:
        """Return what a device of a sweep means here: `cpu`, `cuda` or a GPU type.

        Raises ValueError for one that is not available, naming those that are.
        """
        ...

    def survey(self, cells: Sequence[Cell], progress: Progress) -> Mapping[str, tuple[Machine, Software]]:
        """Return the machine behind every device of the cells. Raises RunError where there is none."""
        ...

    def prepare(self, cells: Sequence[Cell], cache: Path, progress: Progress) -> None:
        """Make what several cells share, if it is made once for all of them."""
        ...

    def run(self, jobs: Sequence[Job], progress: Progress) -> Generator[Ended]:
        """Run every job and yield it when it ends, each once. Raises RunError where the rest cannot run."""
        ...
