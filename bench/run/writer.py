"""Write the records of a run: one for every cell that ends, replaced by a second where the first was disturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.measure.machine import Machine, Software
from bench.records.machines import timed_on, unlike
from bench.records.schema import Record
from bench.records.store import Store, each_record
from bench.records.table import is_behind, write_table
from bench.run.differences import Scored, behind, renew
from bench.run.launchers import CellKey, Ended
from bench.run.panels import Unmerged, far_of, in_doubt, unmerged_of
from bench.run.progress import Progress
from bench.run.recording import describe_suite, record_end
from bench.sweep.cells import Cell

ATTEMPTS = 2
"""Number of times that a run measures a disturbed cell; the last is at the end of the run."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The parts of a record that decide whether its cell is measured or compared again."""

    unmerged: Unmerged | None
    attempt: int
    is_disturbed: bool
    says_so: bool
    """Whether the record tells what disturbed it; those of older schemas do not."""
    scored: Scored | None = None
    """The record's scores; None where it has no quality."""

    @classmethod
    def of(cls, record: Record) -> Seen:
        """Extract these parts from a record, which then need not be kept."""
        part = record.performance
        return cls(
            unmerged=unmerged_of(record),
            attempt=record.attempt,
            is_disturbed=_disturbance_seen(record),
            says_so=part is not None and part.disturbance is not None,
            scored=Scored.of(record),
        )


def odd_cells(seen: Mapping[tuple[str, str], Seen]) -> set[tuple[str, str]]:
    """Return the cells to measure once more, given (machine, cell) -> what was seen of its record."""
    far = far_of(one.unmerged for one in seen.values())
    return {
        key for key, one in seen.items() if one.says_so and (one.is_disturbed or key in far) and one.attempt < ATTEMPTS
    }


def behind_in(seen: Mapping[tuple[str, str], Seen], machine: str, against: Mapping[str, str | None]) -> set[str]:
    """Return the cells of a machine whose difference is outdated, given cell -> id of its reference."""
    return behind({cell: one.scored for (where, cell), one in seen.items() if where == machine}, against)


class RecordWriter:
    """Writes the records of a run, each into its machine's folder."""

    def __init__(
        self,
        name: str,
        results: Path,
        command: tuple[str, ...],
        machines: Mapping[str, tuple[Machine, Software]],
        stores: Mapping[str, Store],
        progress: Progress,
        stack: ExitStack,
    ) -> None:
        self._name, self._results, self._command = name, results, command
        self._progress, self._stack = progress, stack
        self._stores, self._suite = stores, describe_suite()
        self._expected: set[CellKey] = set()
        self._seen: dict[tuple[str, str], Seen] = {}
        self._timed_on = {machine.key: timed_on(machine, software) for machine, software in machines.values()}
        self._warned: set[str] = set()
        self._open = {store.machine: store for store in stores.values()}
        self.status: dict[CellKey, str] = {}
        """Status of the last record of every cell that was measured."""
        for store in self._open.values():
            stack.enter_context(store.lock())
            for record in each_record(store.folder):  # a bad one is found now, not after an hour of measuring
                self._seen[store.machine, record.cell.id] = Seen.of(record)

    def take(self, end: Ended, attempt: int = 1) -> None:
        """Write the record of a cell that ended."""
        record = record_end(self._name, end, self._suite, self._command, attempt)
        store = self._store(record.machine.key, end.cell)
        self._warn_of_another_machine(record)
        if attempt == ATTEMPTS:
            record = self._doubted(store, self._with_the_first(store, record))
        if end.outcome.status == "ok" and end.outcome.value.predictions is not None:
            store.write_predictions(end.cell.id, end.outcome.value.predictions, end.outcome.value.hashes)
        store.write(record)
        self._seen[store.machine, record.cell.id] = Seen.of(record)
        key = (end.cell.id, end.cell.device)
        self.status[key] = record.status
        if attempt < ATTEMPTS and _disturbance_seen(record):
            self._expected.add(key)
            self._progress.expect([end.cell])
        self._progress.end(end.cell, record)

    def _doubted(self, store: Store, record: Record) -> Record:
        """Return a cell's last record, `disturbed` where its unmerged model's time is far from its panel's median."""
        here = (store.machine, record.cell.id)
        others = (seen.unmerged for key, seen in self._seen.items() if key[0] == store.machine and key != here)
        why = far_of([*others, unmerged_of(record)]).get(here)
        if not why:
            return record
        told = f"{why}; {record.message}" if record.message else why
        return in_doubt(record, why).model_copy(update={"message": told})

    def _warn_of_another_machine(self, record: Record) -> None:
        """Warn once per key if its records come from more than one machine: each job can get another node."""
        if record.performance is None:
            return
        key, mine = record.machine.key, timed_on(record.machine, record.software)
        words = unlike(self._timed_on.setdefault(key, mine), mine)
        if words and key not in self._warned:
            self._warned.add(key)
            self._progress.say(
                f"{key}: nodes with this key are different machines: {'; '.join(words)}. Their times cannot share a "
                "report; choose nodes of one kind (--slurm-config: constraint), and give --redo"
            )

    def _with_the_first(self, store: Store, record: Record) -> Record:
        """Return a cell's first record, noting how the second ended, if only the first has samples; else the second."""
        here = (store.machine, record.cell.id)
        if record.performance is not None or here not in self._seen:
            return record
        first = store.read(record.cell.id)
        if first is None or first.performance is None:
            return record
        words = f"measured again, it ended with {record.status}: {record.message}"
        message = f"{first.message}; {words}" if first.message else words
        return first.model_copy(update={"attempt": record.attempt, "message": message})

    def expected(self, cell: Cell) -> bool:
        """Return whether the time estimate already includes a second measurement of a cell."""
        return (cell.id, cell.device) in self._expected

    def disturbed(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells to measure once more: disturbed, or with an unmerged model far from their panel's median."""
        odd = odd_cells(self._seen)
        return [cell for cell in cells if (self._stores[cell.device].machine, cell.id) in odd]

    def compare_again(self, cells: Sequence[Cell]) -> None:
        """Recompute the differences that are not to the unmerged model's current record."""
        for device, store in self._stores.items():
            late = behind_in(self._seen, store.machine, {cell.id: cell.against for cell in cells})
            for record in renew(
                [cell for cell in cells if cell.device == device and cell.id in late], store, self._progress
            ):
                self._seen[store.machine, record.cell.id] = Seen.of(record)

    def export(self) -> None:
        """Write the table of every folder if something was measured, else of those where a run left it outdated."""
        for store in self._open.values():
            if self.status or is_behind(store.folder):
                write_table(store.folder)

    def _store(self, key: str, cell: Cell) -> Store:
        if key not in self._open:
            self._progress.say(f"a node of {cell.device} is a {key}: its records go to its own folder")
            self._open[key] = Store(self._results, key, self._name)
            self._stack.enter_context(self._open[key].lock())
        return self._open[key]


def _disturbance_seen(record: Record) -> bool:
    """Return whether a cell noticed a disturbance itself, whatever else is wrong with its record."""
    part = record.performance
    return part is not None and part.disturbance is not None and bool(part.disturbance.reasons)
