"""Write tables of events: CSV, JSON lines, and Audacity label tracks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

from fastast.inference.events import Event
from fastast.inference.file_names import utf8_name
from fastast.names import unknown_name
from fastast.system.writing import written_whole

ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "audacity"}
"""Format of a file by the ending of its name."""
EVENT_FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
"""Names of the formats."""
COLUMNS = ("file", "start", "end", "label", "score")
"""Columns of CSV and keys of JSON lines."""


class WriteEvents(Protocol):
    """Writes the events of one file into an open table."""

    def __call__(self, path: Path, events: Iterable[Event], /) -> None:
        """Write the events of the file at `path`."""


def event_format(path: Path, asked: str = "") -> str:
    """Return the format of a table: the one `asked` for, or else the one of its name's ending.

    Raises ValueError for an unknown format or ending.
    """
    if asked:
        if asked not in EVENT_FORMATS:
            raise ValueError(unknown_name("format of events", asked, EVENT_FORMATS))
        return asked
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"{path}: the file name does not say which format to write; end it in {', '.join(ENDINGS)}, or give "
            f"--events-format {' or '.join(EVENT_FORMATS)}"
        )
    return ENDINGS[path.suffix.lower()]


@contextmanager
def write_events(path: Path, form: str) -> Iterator[WriteEvents]:
    """Open a table for the events of several files; it appears, complete, when the block ends without an error.

    `csv` has the columns `file,start,end,label,score`; `jsonl` has one object per line with the same keys; `audacity`
    has start, end, and the label with its score, separated by tabs, and does not name the file. Times are in seconds.
    """
    names = "surrogateescape"  # file names need not be UTF-8; for JSON, `utf8_name` escapes them
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", errors=names, newline="") as file:
        yield {"csv": _csv, "jsonl": _jsonl, "audacity": _audacity}[form](file)


def _row(path: str, event: Event) -> dict[str, str | float]:
    values = (path, round(event.start, 3), round(event.end, 3), event.label, round(event.score, 4))
    return dict(zip(COLUMNS, values, strict=True))


def _csv(file: TextIO) -> WriteEvents:
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    table.writeheader()

    def write(path: Path, events: Iterable[Event]) -> None:
        table.writerows(_row(str(path), event) for event in events)

    return write


def _jsonl(file: TextIO) -> WriteEvents:
    def write(path: Path, events: Iterable[Event]) -> None:
        file.writelines(json.dumps(_row(utf8_name(path), event), ensure_ascii=False) + "\n" for event in events)

    return write


def _audacity(file: TextIO) -> WriteEvents:
    def write(path: Path, events: Iterable[Event]) -> None:
        for event in events:
            label = " ".join(event.label.split())  # a tab would end the label
            file.write(f"{event.start:.6f}\t{event.end:.6f}\t{label} ({event.score:.2f})\n")

    return write
