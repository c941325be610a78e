"""Check that records can be published: complete, in their place, of committed code, and without private data."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.records.gather import GatherError, gather_results
from bench.records.replicates import FACTS
from bench.records.schema import Record
from bench.records.store import read_record, record_paths, to_frame
from bench.share.private import QUESTION, private_texts

_ARRAYS = re.compile("|".join((r"logits|scores|activation|\w+_sha256|replicates", *FACTS)))
"""Names of the arrays in a file of predictions, or of their replicates."""


class ShareError(ValueError):
    """Why records cannot be shared, one line per problem."""


def check_contribution(folder: Path) -> dict[str, int]:
    """Check the records below a folder, and return their number by machine.

    `folder`: one machine's results, or those of several side by side; files next to the machines' folders are ignored.
    Raises ShareError naming everything that keeps a record from being published.
    """
    paths = record_paths(folder)
    if not paths:
        raise ShareError(f"{folder}: has no records; give results/MACHINE, or a folder of such folders")
    with TemporaryDirectory() as nowhere:
        try:
            gather_results([folder], Path(nowhere) / "results", dry_run=True)
        except GatherError as error:
            raise ShareError("\n".join(str(error).splitlines()[:-1])) from None  # the last line is about writing
    records = {path: read_record(path) for path in paths}
    problems = [problem for path, record in records.items() for problem in record_problems(path, record)]
    for machine in sorted({path.parent.parent for path in paths}):
        problems += _file_problems(machine, {path: records[path] for path in paths if machine in path.parents})
    if problems:
        raise ShareError("\n".join(problems))
    keys = [record.machine.key for record in records.values()]
    return {key: keys.count(key) for key in sorted(set(keys))}


def record_problems(path: Path, record: Record, names: Sequence[str] = ()) -> Iterator[str]:
    """Yield the reasons in a record itself why it cannot be published."""
    if record.suite.commit is None or record.suite.dirty is not False:
        yield (
            f"{path}: was measured with uncommitted code (commit {record.suite.commit or 'unknown'}, "
            f"changed: {record.suite.dirty}); commit, and measure it again"
        )
    for key, text in private_texts(record, names):
        advice = "pack the results with python -m bench share, which removes it"
        if key.startswith(f"{QUESTION}."):
            advice = "a question cannot be changed; measure it again under a name that reveals nothing"
        yield f"{path}: {key}: holds {text!r}; {advice}"


def _file_problems(machine: Path, records: dict[Path, Record]) -> Iterator[str]:
    """Yield what is not where or as a run leaves it in one machine's folder."""
    for path, record in records.items():
        expected = Path(record.machine.key, record.sweep, path.name)
        if Path(*path.parts[-3:]) != expected:
            yield f"{path}: belongs in {expected}"
    known = set(records)
    for folder in {path.parent for path in records}:
        own = [record for path, record in records.items() if path.parent == folder]
        table = folder / "cells.csv"
        known |= {table} | {folder / "predictions" / f"{record.cell.id}.npz" for record in own if record.quality}
        if not table.exists() or not _is_table_of(table, own):
            yield f"{table}: does not match the records; run: python -m bench export --results {folder} --out {table}"
    for path in sorted(path for path in machine.rglob("*") if path.is_file()):
        if path not in known:
            yield f"{path}: is neither a record nor the predictions or the table of one; leave it out"
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                yield from (
                    f"{path}: holds {name!r}, which is not part of predictions"
                    for name in stored.files
                    if not _ARRAYS.fullmatch(name)
                )


def _is_table_of(table: Path, records: Sequence[Record]) -> bool:
    """Return whether a table agrees with the one that would be written now; an older one may have fewer columns."""
    today = list(csv.DictReader(io.StringIO(to_frame(records).to_csv(index=False))))
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [row.get("cell") for row in rows] == [row["cell"] for row in today]
    return cells and all(
        (name, value) in known.items() for row, known in zip(rows, today, strict=True) for name, value in row.items()
    )
