"""Records on disk: `results/<machine>/<sweep>/<cell id>.json`, written atomically, validated when read.

The record of a quality cell has its predictions next to it (`bench.records.predictions`), so that a paired bootstrap
can be made later.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import from_json

from bench.records.columns import COLUMNS
from bench.records.export import to_frame
from bench.records.migrations import MIGRATIONS
from bench.records.predictions import Predictions, encode_predictions
from bench.records.schema import SCHEMA_VERSION, Record
from fastast.system.locking import release_lock, take_lock
from fastast.system.writing import remove_leftovers, write_whole

__all__ = [
    "COLUMNS",
    "Record",
    "RecordError",
    "Store",
    "check_name",
    "each_record",
    "read_head",
    "read_record",
    "read_records",
    "record_bytes",
    "record_paths",
    "to_frame",
]

ROOM = 1 << 16
"""Bytes that must fit into a folder before anything is measured for it; a record takes fewer."""

HEAD = 1 << 13
"""Bytes from the start of a record that hold everything before its measurements."""
_AFTER_HEAD = b',\n "command": '
"""What follows a record's status and times; no string contains it, as JSON has no line break inside a string."""

_RECORD_NAME = re.compile(r"[0-9a-f]{12}\.json")
_ELSEWHERE = "give another folder with --results, or make this one writable"
_ADVICE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
}


class RecordError(ValueError):
    """A file that is not a record, or one that this version cannot read."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The start of a record: enough to count it."""

    cell_id: str
    status: str
    seconds: float
    """Seconds from the start of its cell to the end."""


def read_record(path: Path) -> Record:
    """Read and validate one record. Raises RecordError naming the file and what to do."""
    content = path.read_bytes()
    with suppress(ValidationError):  # reported below, unless an older schema explains it
        record = Record.model_validate_json(content)
        if "schema_version" in record.model_fields_set:
            return record
    try:
        raw = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not a whole JSON file ({error}); delete it and run the sweep again") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise RecordError(f"{path}: has no schema_version, so it is not a record; move it out of the results")
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{path}: is of schema {version}, this FastAST reads up to {SCHEMA_VERSION}; update FastAST to read it"
        )
    if version not in {*MIGRATIONS, SCHEMA_VERSION}:
        raise RecordError(f"{path}: is of schema {version}, which cannot be read any more; measure it again")
    try:
        raw = _migrate(raw, version)
    except (KeyError, TypeError, AttributeError):
        raise RecordError(
            f"{path}: is not a whole record of schema {version}; delete it and run the sweep again"
        ) from None
    try:
        return Record.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {where}: {first['msg']}; delete it and run the sweep again") from None


def read_head(path: Path) -> Head:
    """Read the start of a record, which takes a tenth of the time. Raises RecordError as `read_record` does."""
    with open(path, "rb", buffering=0) as file:  # called thousands of times, and Path.open takes twice as long
        start = file.read(HEAD)
        file.seek(-min(2, len(start)), os.SEEK_END)
        whole = file.read() == b"}\n"
    with suppress(ValueError, KeyError, TypeError):
        found = from_json(start[: start.index(_AFTER_HEAD)] + b"}")
        if whole and found["schema_version"] == SCHEMA_VERSION:
            began, ended = (datetime.fromisoformat(found[name]) for name in ("started", "finished"))
            return Head(cell_id=found["cell"]["id"], status=found["status"], seconds=(ended - began).total_seconds())
    record = read_record(path)  # another schema, edited or broken: this reads it or says what is wrong
    seconds = (record.finished - record.started).total_seconds()
    return Head(cell_id=record.cell.id, status=record.status, seconds=seconds)


def read_records(folder: Path) -> list[Record]:
    """Read all records in `folder` and below, sorted by path; other files are left alone.

    `folder` may be all results, one machine's or one sweep's. Raises RecordError for the first bad record.
    """
    return list(each_record(folder))


def each_record(folder: Path) -> Iterator[Record]:
    """Read records as `read_records` does, one at a time: ten thousand of them are more than memory should hold."""
    return map(read_record, record_paths(folder))


def record_bytes(record: Record) -> bytes:
    """Return the content of a record's file: JSON, lists of numbers on one line."""
    text = record.model_dump_json(indent=1)
    # JSON has no line break inside a string.
    text = re.sub(r"\[\n[^\[\]{}]*\]", lambda found: re.sub(r"\n\s*", " ", found.group()), text)
    return (text + "\n").encode()


def record_paths(folder: Path) -> list[Path]:
    """Return the files in `folder` and below that are named like records, sorted."""
    return sorted(path for path in folder.rglob("*.json") if _RECORD_NAME.fullmatch(path.name))


class Store:
    """The records of one sweep on one machine."""

    def __init__(self, root: Path, machine: str, sweep: str) -> None:
        self.machine = machine
        self.folder = root / machine / sweep

    def path(self, cell_id: str) -> Path:
        """Return where the record of a cell is or would be."""
        return self.folder / f"{cell_id}.json"

    def predictions_path(self, cell_id: str) -> Path:
        """Return where the predictions of a cell are or would be."""
        return self.folder / "predictions" / f"{cell_id}.npz"

    def head(self, cell_id: str) -> Head | None:
        """Return the head of a cell's record, None where there is none. Raises RecordError for a bad one."""
        path = self.path(cell_id)
        try:
            head = read_head(path)
        except FileNotFoundError:
            return None
        check_name(path, head.cell_id)
        return head

    def read(self, cell_id: str) -> Record | None:
        """Return the record of a cell, None where there is none. Raises RecordError for a bad one."""
        path = self.path(cell_id)
        if not path.exists():
            return None
        record = read_record(path)
        check_name(path, record.cell.id)
        return record

    def write(self, record: Record) -> Path:
        """Write a record; a crash leaves the whole old file or the whole new one."""
        path = self.path(record.cell.id)
        with advised(path):
            write_whole(path, record_bytes(record))
        return path

    def write_predictions(self, cell_id: str, predictions: Predictions, hashes: dict[str, str]) -> Path:
        """Write the predictions of a cell with the hashes of its labels and ids."""
        path = self.predictions_path(cell_id)
        with advised(path):
            write_whole(path, encode_predictions(predictions, hashes))
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of this folder, and make sure that records can be written to it.

        What an interrupted run left half-written is removed. Raises RecordError where another run is at work (a dead
        one's lock is gone with it), OSError where nothing can be written.
        """
        path = self.folder / ".lock"
        with advised(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = take_lock(path)
        if descriptor is None:
            raise RecordError(f"{self.folder}: another run writes here; wait for it, or end it")
        try:
            for folder in (self.folder, self.folder / "predictions"):
                remove_leftovers(folder, locked=True)
            with advised(self.folder):
                self._try_to_write()
            yield
        finally:
            release_lock(path, descriptor)

    def _try_to_write(self) -> None:
        """Write a probe, to fail now rather than after an hour of measuring."""
        probe = self.folder / f".probe.{os.getpid()}.tmp"
        try:
            write_whole(probe, bytes(ROOM))
        finally:
            probe.unlink(missing_ok=True)


def check_name(path: Path, cell_id: str) -> None:
    """Raise RecordError where a record's file is not named after its cell."""
    if path.stem != cell_id:
        raise RecordError(f"{path}: holds cell {cell_id}; a record's file is named after its cell")


def hash_array(array: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's type, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def advised(path: Path) -> Iterator[None]:
    """Add to the error of what cannot be written what to do about it."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        advice = _ADVICE.get(number, "check the disk")
        said = str(error.strerror)
        said = said if "written" in said else f"{said}: nothing was written"
        what = f"{said}; {advice}, and the same command resumes from there"
        raise OSError(number, what, str(path)) from None


def _migrate(raw: dict[str, Any], version: int) -> dict[str, Any]:
    while version < SCHEMA_VERSION:
        raw = MIGRATIONS[version](raw)
        version += 1
    return raw
