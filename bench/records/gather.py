"""Gather the results of several machines: records are checked, copied, and never overwritten unasked.

Two records of one cell on one machine are the same if their content is, however the files are written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from bench.records.many import each_of_many
from bench.records.predictions import PredictionsError
from bench.records.replicates import read_kept
from bench.records.schema import Record
from bench.records.store import (
    RecordError,
    Store,
    advised,
    check_name,
    read_record,
    record_bytes,
    record_paths,
)
from bench.records.table import is_behind, write_table
from bench.sweep.cells import canonical
from fastast.system.writing import write_together

Keep = Literal["ours", "theirs", "newer"]
"""Which of two different records to keep: the one that is there, the one that comes, or the one finished later."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class GatherError(ValueError):
    """Why results cannot be gathered, one line per problem; nothing was written."""


_TOGETHER = 64
"""Number of records that are written at a time."""


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """A record to write, or an existing one to compare it with."""

    source: Path
    cell_id: str
    status: str
    finished: datetime
    content: bytes
    """Content of the record's file as this version writes it."""
    scored: tuple[int, int, str] | None
    """Clips, classes and hash of the ids that its predictions must have; None where it has no quality."""
    against: str | None
    """Id of the cell that its difference is to; None where it has no difference."""
    store: Store
    """Store that the record goes into."""

    @property
    def target(self) -> Path:
        """File that the record goes into."""
        return self.store.path(self.cell_id)

    def read_predictions(self) -> bytes:
        """Return the content of the file of its predictions."""
        return _predictions_of(self.source).read_bytes()


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What was gathered, or would be without `dry_run`."""

    into: Path
    new: int
    identical: int
    """Number of records left alone because the same ones are there already."""
    replaced: int
    kept: int
    """Number of existing records that were kept although a different one came."""
    machines: tuple[str, ...]
    dry_run: bool

    def lines(self) -> tuple[str, ...]:
        """Return the result in lines for people."""
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
        for copy in each_of_many(partial(_examined, into=into), list(_record_files(source, into, problems))):
            found += 1
            if isinstance(copy, str):
                problems.append(copy)
                continue
            try:
                ours = chosen.get(copy.target) or _there(copy)
            except RecordError as error:
                problems.append(str(error))
                continue
            machines.add(copy.store.machine)
            stores[copy.store.folder] = copy.store
            if ours is None or _is_wanted(copy, ours, keep):
                problems += _bad_predictions(copy)
                chosen[copy.target] = copy
            elif ours.content == copy.content:
                counts["identical"] += 1
            elif keep is None:
                problems.append(_conflict(ours, copy))
            else:
                counts["kept"] += 1
        if not found and not problems:
            problems.append(f"{source}: has no records; give a folder of results, such as results or results/MACHINE")
    if problems:
        raise GatherError("\n".join([*dict.fromkeys(problems), "nothing was written"]))
    replaced = sum(target.exists() for target in chosen)
    if not dry_run:
        _write(chosen.values(), stores.values())
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


def _examined(path: Path, into: Path) -> _Copy | str:
    """Return a record's file as a copy to write, or what is wrong with it."""
    try:
        record = _checked(path)
    except RecordError as error:
        return str(error)
    return _copy(path, record, Store(into, record.machine.key, record.sweep))


def _checked(path: Path) -> Record:
    """Read a record. Raises RecordError also for a wrong file name or id, and for names that cannot be folders."""
    record = read_record(path)
    check_name(path, record.cell.id)
    digest = hashlib.sha256(canonical(record.cell.question).encode()).hexdigest()[:12]
    if digest != record.cell.id:
        raise RecordError(f"{path}: its id is not the hash of its question, which is {digest}; it was edited")
    for what, name in (("machine.key", record.machine.key), ("sweep", record.sweep)):
        if not _NAME.fullmatch(name):
            raise RecordError(f"{path}: {what}: '{name}' cannot be the name of a folder")
    return record


def _copy(path: Path, record: Record, store: Store) -> _Copy:
    part = record.quality
    return _Copy(
        source=path,
        cell_id=record.cell.id,
        status=record.status,
        finished=record.finished,
        content=record_bytes(record),
        scored=None if part is None else (part.clips, part.classes, part.ids_sha256),
        against=None if part is None or part.delta is None else part.delta.against,
        store=store,
    )


def _there(copy: _Copy) -> _Copy | None:
    """Return the record that is already where another one goes; None where there is none."""
    if not copy.target.exists():
        return None
    if copy.target.read_bytes() == copy.content:  # so it need not be parsed
        return replace(copy, source=copy.target)
    return _copy(copy.target, read_record(copy.target), copy.store)


def _is_wanted(copy: _Copy, ours: _Copy, keep: Keep | None) -> bool:
    """Return whether a record is to replace another one of its cell."""
    if copy.content == ours.content:
        return False
    if keep != "newer":
        return keep == "theirs"
    if copy.finished != ours.finished:
        return copy.finished > ours.finished
    return _compared_at(copy) > _compared_at(ours)  # all that a run rewrites is the difference, to a later reference


def _compared_at(copy: _Copy) -> datetime:
    """Return when the reference in the same folder as a record was finished; the earliest time where there is none."""
    path = copy.source.with_name(f"{copy.against}.json")
    return read_record(path).finished if copy.against and path.exists() else datetime.min.replace(tzinfo=UTC)


def _predictions_of(path: Path) -> Path:
    """Return the file of the predictions of a record's file, if it has any."""
    return path.parent / "predictions" / f"{path.stem}.npz"


def _bad_predictions(copy: _Copy) -> list[str]:
    """Return why a record's predictions cannot be copied; a record without quality needs none."""
    path = _predictions_of(copy.source)
    if copy.scored is None:
        return []
    if not path.exists():
        return [f"{path}: is missing; {copy.source} is of a quality cell and needs its predictions"]
    try:
        kept, hashes = read_kept(path)
    except (OSError, PredictionsError) as error:
        return [str(error)]
    if (*kept.shape, hashes.get("ids_sha256")) != copy.scored:
        return [f"{path}: its clips are not those of {copy.source}"]
    return []


def _conflict(ours: _Copy, theirs: _Copy) -> str:
    def shown(copy: _Copy) -> str:
        return f"{copy.source} ({copy.status}, finished {copy.finished:%Y-%m-%d %H:%M:%S})"

    return (
        f"{shown(ours)} and {shown(theirs)} are different records of one cell on one machine; "
        "choose with --keep ours, --keep theirs or --keep newer"
    )


def _write(copies: Iterable[_Copy], stores: Iterable[Store]) -> None:
    """Write records, each after its predictions so that it is never without them, and tables that are outdated."""
    by_folder: dict[Path, list[_Copy]] = {}
    for copy in copies:
        by_folder.setdefault(copy.store.folder, []).append(copy)
    for store in stores:
        folder, group = store.folder, by_folder.get(store.folder, [])
        if not group and not (folder / ".lock").exists() and not is_behind(folder):
            continue  # nothing new, and no interrupted run left anything to clean up
        with store.lock(), advised(folder):
            for start in range(0, len(group), _TOGETHER):
                part = group[start : start + _TOGETHER]
                scored = [copy for copy in part if copy.scored is not None]
                write_together({store.predictions_path(copy.cell_id): copy.read_predictions() for copy in scored})
                write_together({copy.target: copy.content for copy in part})
                for copy in part:
                    if copy.scored is None:
                        store.predictions_path(copy.cell_id).unlink(missing_ok=True)  # of the record that was replaced
            write_table(folder)
