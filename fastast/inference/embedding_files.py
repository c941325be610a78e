"""Write tables of vectors: Parquet, NumPy's npz, CSV.

Shapes: `k` rows, `d` width.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastast.inference.embedding import Embedding
from fastast.inference.file_names import utf8_name
from fastast.system.writing import written_whole

WriteEmbeddings = Callable[[Sequence[Embedding]], None]
"""Writes the vectors of one file into an open table."""
_GROUP = 4096
"""Number of rows collected before they are written to a Parquet file."""


@contextmanager
def write_embeddings(path: Path) -> Iterator[WriteEmbeddings]:
    """Open a table for the vectors of several files; it appears, complete, when the block ends without an error.

    Each row has `file`, `start` and `end` (seconds) and `vector` (d,) float32. `.parquet`: one column each. `.npz`: one
    array each, (k,) and (k, d). `.csv`: the vector has one column per number, `v0`, `v1`, ...

    Raises ValueError for another ending, if pyarrow is missing for Parquet, and if the block wrote no vector: then
    their width is unknown, and a file that was there before stays.
    """
    kinds = {".parquet": _parquet, ".npz": _npz, ".csv": _csv}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{path}: the file name does not say which format to write; end it in {', '.join(kinds)}")
    rows = 0

    def write_counted(found: Sequence[Embedding]) -> None:
        nonlocal rows
        rows += len(found)
        write(found)

    with written_whole(path) as temporary, kinds[path.suffix.lower()](temporary) as write:
        yield write_counted
        if not rows:
            raise ValueError(f"{path}: there are no vectors to write, so nothing was written")


@contextmanager
def _parquet(path: Path) -> Iterator[WriteEmbeddings]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "writing Parquet needs pyarrow; install it (pip install 'fastast[data]'), or end the name in .npz or .csv"
        ) from error
    rows: list[Embedding] = []
    writer: Any = None

    def flush() -> None:
        nonlocal writer
        width = len(rows[0].vector)
        schema = pyarrow.schema(
            [
                ("file", pyarrow.string()),
                ("start", pyarrow.float64()),
                ("end", pyarrow.float64()),
                ("vector", pyarrow.list_(pyarrow.float32(), width)),
            ]
        )
        writer = writer or pyarrow.parquet.ParquetWriter(path, schema)
        values = pyarrow.array(np.concatenate([row.vector for row in rows]))
        columns = [
            pyarrow.array([utf8_name(row.path) for row in rows]),
            pyarrow.array([row.start for row in rows]),
            pyarrow.array([row.end for row in rows]),
            pyarrow.FixedSizeListArray.from_arrays(values, width),
        ]
        writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
        rows.clear()

    def write(found: Sequence[Embedding]) -> None:
        rows.extend(found)
        if len(rows) >= _GROUP:
            flush()

    try:
        yield write
        if rows:
            flush()
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _npz(path: Path) -> Iterator[WriteEmbeddings]:
    rows: list[Embedding] = []
    yield rows.extend
    columns = {
        "file": np.array([str(row.path) for row in rows], np.str_),
        "start": np.array([row.start for row in rows]),
        "end": np.array([row.end for row in rows]),
        "vector": np.array([row.vector for row in rows], np.float32),  # (k, d)
    }
    with zipfile.ZipFile(path, "w") as archive:  # np.savez cannot have a column called `file`
        for name, values in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


@contextmanager
def _csv(path: Path) -> Iterator[WriteEmbeddings]:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        header = False

        def write(found: Sequence[Embedding]) -> None:
            nonlocal header
            for row in found:
                if not header:
                    table.writerow(["file", "start", "end", *(f"v{i}" for i in range(len(row.vector)))])
                    header = True
                # str gives the shortest text that reads back as the same float32.
                table.writerow([row.path, round(row.start, 3), round(row.end, 3), *map(str, row.vector)])

        yield write
