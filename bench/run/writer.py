"""What a run writes: a record for every cell that ends, replaced by a second one where the first was disturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.records.schema import Record
from bench.records.store import Store, read_records, write_csv
from bench.run.launchers import CellKey, Ended
from bench.run.panels import far_cells, in_doubt
from bench.run.progress import Progress
from bench.run.recording import describe_suite, record_end
from bench.sweep.cells import Cell

ATTEMPTS = 2
"""How often a run measures a cell that was disturbed; the last time is at its end."""


class RecordWriter:
    """Writes what a run measures, each record where its machine's are."""

    def __init__(
        self,
        name: str,
        results: Path,
        command: tuple[str, ...],
        stores: Mapping[str, Store],
        progress: Progress,
        stack: ExitStack,
    ) -> None:
        self._name, self._results, self._command = name, results, command
        self._progress, self._stack = progress, stack
        self._stores, self._suite = stores, describe_suite()
        self._expected: set[CellKey] = set()
        self._open = {store.machine: store for store in stores.values()}
        self.status: dict[CellKey, str] = {}
        """Of every cell that was measured, that of its last record."""
        for store in self._open.values():
            stack.enter_context(store.lock())
            read_records(store.folder)  # a bad one is found now, not after an hour of measuring

    def take(self, end: Ended, attempt: int = 1) -> None:
        """Write the record of a cell that ended."""
        record = record_end(self._name, end, self._suite, self._command, attempt)
        store = self._store(record.machine.key, end.cell)
        if attempt == ATTEMPTS:
            others = [one for one in read_records(store.folder) if one.cell.id != record.cell.id]
            why = far_cells([*others, record]).get((record.machine.key, record.cell.id))
            record = in_doubt(record, why) if why else record
        if end.outcome.status == "ok" and end.outcome.value.predictions is not None:
            store.write_predictions(end.cell.id, end.outcome.value.predictions, end.outcome.value.hashes)
        store.write(record)
        key = (end.cell.id, end.cell.device)
        self.status[key] = record.status
        if attempt < ATTEMPTS and _disturbance_seen(record):
            self._expected.add(key)
            self._progress.expect([end.cell])
        self._progress.end(end.cell, record)

    def expected(self, cell: Cell) -> bool:
        """Return whether the estimate has it already that a cell will be measured again."""
        return (cell.id, cell.device) in self._expected

    def disturbed(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells to measure once more: disturbed, or with an unmerged model far from that of their panel."""
        far = {key for store in self._open.values() for key in far_cells(read_records(store.folder))}
        found = []
        for cell in cells:
            record = self._stores[cell.device].read(cell.id)
            if record is None or record.performance is None or record.performance.disturbance is None:
                continue  # older schemas do not say what disturbed a cell
            odd = _disturbance_seen(record) or (record.machine.key, record.cell.id) in far
            if odd and record.attempt < ATTEMPTS:
                found.append(cell)
        return found

    def export(self) -> None:
        """Write the CSV file of every folder."""
        for store in self._open.values():
            export_records(store)

    def _store(self, key: str, cell: Cell) -> Store:
        if key not in self._open:
            self._progress.say(f"a node of {cell.device} is a {key}: its records go to its own folder")
            self._open[key] = Store(self._results, key, self._name)
            self._stack.enter_context(self._open[key].lock())
        return self._open[key]


def export_records(store: Store) -> Path:
    """Write the CSV file of a sweep's records beside them and return its path."""
    path = store.folder / "cells.csv"
    write_csv(read_records(store.folder), path)
    return path


def _disturbance_seen(record: Record) -> bool:
    """Return whether a cell saw itself disturbed, whatever else is wrong with its record."""
    part = record.performance
    return part is not None and part.disturbance is not None and bool(part.disturbance.reasons)
