"""Tables of events: CSV, JSON lines, and label tracks of Audacity."""

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
"""What a file is by its ending."""
EVENT_FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
COLUMNS = ("file", "start", "end", "label", "score")


class WriteEvents(Protocol):
    """Writes the events of one file into an open table."""

    def __call__(self, path: Path, events: Iterable[Event], /) -> None:
        """Write them."""


def event_format(path: Path, asked: str = "") -> str:
    """Return the format of a table: what is `asked` for, else by the ending of its name.

    Raises ValueError for an ending that says nothing, or another format.
    """
    if asked:
        if asked not in EVENT_FORMATS:
            raise ValueError(unknown_name("format of events", asked, EVENT_FORMATS))
        return asked
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"{path}: its ending does not say what to write; end it in {', '.join(ENDINGS)}, or say it: "
            f"--events-format {' or '.join(EVENT_FORMATS)}"
        )
    return ENDINGS[path.suffix.lower()]


@contextmanager
def write_events(path: Path, form: str) -> Iterator[WriteEvents]:
    """Open a table for the events of several files; it is there, and whole, when the block ends without an error.

    `csv` has the columns `file,start,end,label,score`; `jsonl` an object with the same keys per line; `audacity` has
    start, end and the label with its score, between tabs, and does not tell files apart. Times are seconds.
    """
    names = "surrogateescape"  # those of files need not be UTF-8, and JSON has them by `utf8_name`
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
            label = " ".join(event.label.split())  # a tab would be the end of it
            file.write(f"{event.start:.6f}\t{event.end:.6f}\t{label} ({event.score:.2f})\n")

    return write
