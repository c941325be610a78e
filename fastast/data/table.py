"""A folder of clips and CSV tables of one's own: which column holds what is told by options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastast.data.clip_files import ENDINGS
from fastast.data.datasets import LATER
from fastast.data.folders import (
    FolderSet,
    Recording,
    check_allowed,
    check_data_options,
    check_root,
    check_split,
    index_labels,
    refuse_missing,
)
from fastast.data.split_names import NAMES, split_of
from fastast.data.tables import read_table, split_labels
from fastast.data.training_set import DataError, Task

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The `[data]` of a recipe on one's own clips: a table a split, or one table with a column that says the split."""

    root: str = ""
    """Folder that the paths in the tables begin at."""
    table: str = ""
    """One table of all clips, below `root`; the column `split` says train, val or test."""
    train: str = ""
    """Or a table for each split: the clips to train on,"""
    val: str = ""
    """to validate on,"""
    test: str = ""
    """and to test on."""
    file: str = "file"
    """Column with the path of a clip below `root`, with or without ending."""
    label: str = "label"
    """Column with the name of its class, or the names of its classes."""
    several: str = ""
    """What stands between the labels of a clip that may have several, such as `,` or `;`. Empty: every clip has one."""
    split_column: str = "split"
    """Column that says the split, in `table`."""
    separator: str = "comma"
    """What stands between columns: `comma`, `semicolon` or `tab`."""
    classes: tuple[str, ...] = ()
    """Classes in the order of a model's outputs. Empty: all that the tables name, by name."""
    missing: str = "refuse"
    """Clips that are not there: `refuse` to start, or `leave out` (the count is logged)."""
    channels: str = field(default="average", metadata=LATER)
    """What is made of several channels: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        check_allowed("separator", self.separator, tuple(SEPARATORS))
        if self.table and (self.train or self.val or self.test):
            raise DataError("data: table and a table for a split are both given; give one table, or one for each split")
        if len(set(self.classes)) < len(self.classes):
            raise DataError("data: classes names one class twice")

    def split(self, name: str) -> FolderSet:
        """Return the clips that a table, or the column in it, gives to a split."""
        check_split(name, "the table")
        root = check_root(self.root, "the data", "the clips and their tables")
        tables = {given: root / getattr(self, given) for given in ("table", *NAMES) if getattr(self, given)}
        if not tables:
            raise DataError("data: no table is given; name it: -s data.table=FILE.csv, or data.train, data.test, ...")
        if "table" not in tables and name not in tables:
            raise DataError(f"data: {name} is not given; name the table of that split: -s data.{name}=FILE.csv")
        rows = [row for given, table in tables.items() for row in self._rows(given, table)]
        classes = self.classes or tuple(sorted({label for row in rows for label in row.labels}))
        columns = {label: column for column, label in enumerate(classes)}
        recordings: list[Recording] = []
        missing: list[Path] = []
        for row in rows:
            if row.split != name:
                continue
            found = index_labels(row.where, row.labels, columns, Path("data.classes"), "add it there, or mend the row")
            path = root / row.file
            if not path.is_file():
                path = next((p for e in ENDINGS if (p := path.with_name(f"{path.name}.{e}")).is_file()), path)
            if path.is_file():
                recordings.append(Recording(id=row.file, path=path, columns=found))
            else:
                missing.append(path)
        table = tables.get(name) or tables["table"]
        if not recordings and not missing:
            raise DataError(f"{table}: no clip is in the {name} split")
        if self.missing == "refuse" or not recordings:
            advice = 'check data.root and data.file, or leave them out: -s data.missing="leave out"'
            refuse_missing(missing, len(missing) + len(recordings), table, advice)
        task: Task = "multi_label" if self.several else "single_label"
        return FolderSet(classes, recordings, task=task, left_out=len(missing), channels=self.channels)

    def _rows(self, given: str, table: Path) -> Iterable[_Row]:
        columns = (self.file, self.label, *([self.split_column] if given == "table" else []))
        for line, row in read_table(table, columns, separator=SEPARATORS[self.separator]):
            where = f"{table}, line {line}"
            split = split_of(row[self.split_column]) if given == "table" else given
            if split is None:
                known = ", ".join(name for names in NAMES.values() for name in names)
                raise DataError(
                    f"{where}: {self.split_column} is {row[self.split_column]!r}; it must be one of {known}"
                )
            file = row[self.file].replace("\\", "/").removeprefix("./")
            if not file or file.startswith("/") or ".." in file.split("/"):
                raise DataError(f"{where}: {self.file} is {row[self.file]!r}; it must be a path below {self.root}")
            yield _Row(where=where, split=split, file=file, labels=split_labels(where, row[self.label], self.several))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A clip of a table."""

    where: str
    split: str
    file: str
    labels: tuple[str, ...]
