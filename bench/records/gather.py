"""Gathering the results of several machines: records are copied, checked, and never overwritten unasked.

Two records of one cell on one machine are the same where their content is, however the files are written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.records.export import write_csv
from bench.records.predictions import read_predictions
from bench.records.schema import Record
from bench.records.store import RecordError, Store, check_name, read_record, read_records, record_paths
from bench.sweep.cells import canonical
from fastast.writing import write_whole

Keep = Literal["ours", "theirs", "newer"]
"""Of two different records: the one that is there, the one that comes, or the one that was finished later."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class GatherError(ValueError):
    """What keeps results from being gathered; nothing was written. One line per problem."""


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """A record that is to be written."""

    source: Path
    record: Record
    store: Store
    replaces: bool

    @property
    def predictions(self) -> Path:
        """Where the record's predictions are, if it has any."""
        return self.source.parent / "predictions" / f"{self.record.cell.id}.npz"


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What was gathered, or would be."""

    into: Path
    new: int
    identical: int
    """Left alone, because they are there already."""
    replaced: int
    kept: int
    """Ours, although another one came."""
    machines: tuple[str, ...]
    dry_run: bool

    def lines(self) -> tuple[str, ...]:
        """Return the result for people."""
        counts = f"{self.new} new, {self.identical} identical, {self.replaced} replaced, {self.kept} kept as they were"
        where = f"{self.into} from {', '.join(self.machines) or 'no machine'}"
        return (f"{where}: {counts}", *(("nothing was written (--dry-run)",) if self.dry_run else ()))


def gather_results(sources: Sequence[Path], into: Path, *, keep: Keep | None = None, dry_run: bool = False) -> Gathered:
    """Copy all records below `sources` into the results `into`, with their predictions, and write the CSV files again.

    Everything is checked before anything is written. Raises GatherError naming every bad file and every pair of
    different records that `keep` does not decide.
    """
    problems: list[str] = []
    chosen: dict[Path, _Copy] = {}
    machines: set[str] = set()
    stores: dict[Path, Store] = {}
    counts = {"identical": 0, "kept": 0}
    for source in sources:
        found = 0
        for path in _record_files(source, into, problems):
            found += 1
            try:
                record = _checked(path)
                store = Store(into, record.machine.key, record.sweep)
                target = store.path(record.cell.id)
                known = chosen.get(target)
                ours = known.record if known else read_record(target) if target.exists() else None
                shown = known.source if known else target
            except RecordError as error:
                problems.append(str(error))
                continue
            machines.add(record.machine.key)
            stores[store.folder] = store
            copy = _Copy(source=path, record=record, store=store, replaces=target.exists())
            if ours is None:
                problems += _bad_predictions(copy)
                chosen[target] = copy
            elif _content(ours) == _content(record):
                counts["identical"] += 1
            elif keep is None:
                problems.append(_conflict(shown, ours, path, record))
            elif keep == "theirs" or (keep == "newer" and record.finished > ours.finished):
                problems += _bad_predictions(copy)
                chosen[target] = copy
            else:
                counts["kept"] += 1
        if not found and not problems:
            problems.append(f"{source}: has no records; give a folder of results, such as results or results/MACHINE")
    if problems:
        raise GatherError("\n".join([*dict.fromkeys(problems), "nothing was written"]))
    if not dry_run:
        _write(chosen.values(), stores.values())
    replaced = sum(copy.replaces for copy in chosen.values())
    return Gathered(
        into=into,
        new=len(chosen) - replaced,
        identical=counts["identical"],
        replaced=replaced,
        kept=counts["kept"],
        machines=tuple(sorted(machines)),
        dry_run=dry_run,
    )


def _record_files(source: Path, into: Path, problems: list[str]) -> Iterator[Path]:
    """Yield the files below a folder that should be records."""
    if not source.is_dir():
        problems.append(f"{source}: no such folder")
        return
    if source.resolve() == into.resolve():
        problems.append(f"{source}: is the folder to gather into")
        return
    yield from record_paths(source)


def _checked(path: Path) -> Record:
    """Read a record whose name, id and machine fit it. Raises RecordError."""
    record = read_record(path)
    check_name(path, record.cell.id)
    digest = hashlib.sha256(canonical(record.cell.question).encode()).hexdigest()[:12]
    if digest != record.cell.id:
        raise RecordError(f"{path}: its id is not the hash of its question, which is {digest}; it was edited")
    for what, name in (("machine.key", record.machine.key), ("sweep", record.sweep)):
        if not _NAME.fullmatch(name):
            raise RecordError(f"{path}: {what}: '{name}' is no name of a folder")
    return record


def _bad_predictions(copy: _Copy) -> list[str]:
    """Return why a record's predictions cannot be copied; none of a record without quality."""
    path = copy.predictions
    if copy.record.quality is None:
        return []
    if not path.exists():
        return [f"{path}: is missing; {copy.source} is of a quality cell, whose predictions belong to it"]
    try:
        predictions, hashes = read_predictions(path)
        ids = hashes["ids_sha256"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        return [f"{path}: cannot be read: {error}"]
    except Exception as error:  # zipfile's own class, for a file that was cut
        return [f"{path}: is no whole file: {error}"]
    expected = (copy.record.quality.clips, copy.record.quality.classes)
    if predictions.values.shape != expected or ids != copy.record.quality.ids_sha256:
        return [f"{path}: is of other clips than {copy.source}"]
    return []


def _is_behind(folder: Path) -> bool:
    """Return whether a run that was ended left a lock, or a table older than a record."""
    table = folder / "cells.csv"
    if (folder / ".lock").exists() or not table.exists():
        return True
    written = table.stat().st_mtime_ns
    return any(path.stat().st_mtime_ns > written for path in folder.glob("*.json"))


def _conflict(ours: Path, ours_record: Record, theirs: Path, record: Record) -> str:
    def shown(path: Path, of: Record) -> str:
        return f"{path} ({of.status}, finished {of.finished:%Y-%m-%d %H:%M:%S})"

    return (
        f"{shown(ours, ours_record)} and {shown(theirs, record)} are different records of one cell on one machine; "
        "choose with --keep ours, --keep theirs or --keep newer"
    )


def _content(record: Record) -> str:
    return record.model_dump_json()


def _write(copies: Iterable[_Copy], stores: Iterable[Store]) -> None:
    """Write records, each after its predictions, so that none is ever without them; and the tables that are behind."""
    by_folder: dict[Path, list[_Copy]] = {}
    for copy in copies:
        by_folder.setdefault(copy.store.folder, []).append(copy)
    for store in stores:
        folder, group = store.folder, by_folder.get(store.folder, [])
        if not group and not _is_behind(folder):
            continue
        with store.lock():
            for copy in group:
                predictions = copy.store.predictions_path(copy.record.cell.id)
                if copy.record.quality is not None:
                    write_whole(predictions, copy.predictions.read_bytes())
                copy.store.write(copy.record)
                if copy.record.quality is None:
                    predictions.unlink(missing_ok=True)  # of the record that was replaced
            write_csv(read_records(folder), folder / "cells.csv")
