"""Your own folder of clips with CSV tables; options say which column holds what."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastast.data.clip_files import sole_folders, subfolders
from fastast.data.datasets import LATER
from fastast.data.folders import (
    FolderSet,
    Recording,
    check_allowed,
    check_data_options,
    check_root,
    check_split,
    index_labels,
    those_there,
)
from fastast.data.folds import as_folds, check_folds, split_of_fold
from fastast.data.layouts.table_columns import LOOKED_AT, SEPARATORS, guess_columns, is_clip_under, with_ending
from fastast.data.shares import check_shares, draw_split, drew_none
from fastast.data.split_names import NAMES, read_split, split_of_path
from fastast.data.tables import leads_out, read_table, split_labels
from fastast.data.training_set import DataError, DataNotFoundError, SplitNotFoundError
from fastast.metrics import Task

NO_COLUMN = "none"
"""Value of `split_column` where no column gives the split."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The `[data]` section of a recipe for your own clips: a table per split, or one table with a column for the split.

    Where nothing gives the split, all clips are for training, and shares of them can be set apart.
    """

    root: str = ""
    """Folder that the paths in the tables are relative to."""
    table: str = ""
    """Table of all clips, below `root`; the column `split_column` says train, val or test."""
    train: str = ""
    """Table of the training clips, if each split has a table of its own instead of `table`."""
    val: str = ""
    """Table of the validation clips."""
    test: str = ""
    """Table of the test clips."""
    file: str = "file"
    """Column with the path of a clip below `root`, with or without its file extension."""
    label: str = "label"
    """Column with the name of a clip's class, or the names of its classes."""
    several: str = ""
    """Separator of the labels of one clip, such as `,` or `;`. Empty: every clip has one label."""
    split_column: str = "split"
    """Column of `table` with the split, or with the fold for `test_folds` and `val_folds`; `none` if there is none."""
    separator: str = "comma"
    """Separator of the columns: `comma`, `semicolon` or `tab`."""
    classes: tuple[str, ...] = ()
    """Classes in the order of a model's outputs. Empty: all classes in the tables, sorted by name."""
    missing: str = "refuse"
    """What to do about missing clips: `refuse` to start, or `leave out` (the count is logged)."""
    val_share: float = field(default=0.0, metadata=LATER)
    """Share of the training clips set apart for validation where nothing assigns clips to val; drawn by a hash of the
    path, so always the same clips."""
    test_share: float = field(default=0.0, metadata=LATER)
    """Share of the training clips set apart for testing, likewise."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""
    test_folds: tuple[str, ...] = field(default=(), metadata=LATER)
    """Folds to test on, such as `[1]`; folds in neither option are for training."""
    val_folds: tuple[str, ...] = field(default=(), metadata=LATER)
    """Folds to validate on."""

    def __post_init__(self) -> None:
        for name in ("test_folds", "val_folds"):
            object.__setattr__(self, name, as_folds(name, getattr(self, name)))
        check_data_options(self)
        check_allowed("separator", self.separator, tuple(SEPARATORS))
        check_shares(self)
        if self.table and (self.train or self.val or self.test):
            raise DataError("data: table and a table for a split are both given; give one table, or one for each split")
        if len(set(self.classes)) < len(self.classes):
            raise DataError("data: classes names one class twice")
        self._check_folds()
        for name in ("val", "test"):
            said = f"data.{name}" if getattr(self, name) else ""
            if self._has_column and (getattr(self, f"{name}_folds") or not self._has_folds):
                said = f"data.{name}_folds" if self._has_folds else "data.split_column"
            if said and getattr(self, f"{name}_share"):
                raise DataError(f"data: {name}_share sets clips apart, and {said} says which they are; leave one out")

    @property
    def _has_column(self) -> bool:
        return bool(self.table) and self.split_column != NO_COLUMN

    @property
    def _has_folds(self) -> bool:
        return bool(self.test_folds or self.val_folds)

    def _check_folds(self) -> None:
        if self._has_folds and not self._has_column:
            given = "test_folds" if self.test_folds else "val_folds"
            raise DataError(f"data: {given} needs the table and the column that says the fold: table, split_column")
        if twice := sorted(set(self.test_folds) & set(self.val_folds)):
            raise DataError(f"data: fold {twice[0]} is in test_folds and in val_folds; leave it out of one")

    @classmethod
    def recognise(cls, root: Path) -> Table | None:
        """Return the options that read a folder; None where no table in it has a column with paths of its clips."""
        return next(filter(None, map(cls._of, sole_folders(root))), None)

    @classmethod
    def _of(cls, root: Path) -> Table | None:
        tables: dict[str, Any] = {}
        known: dict[str, Any] = {}
        for path in sorted(path for ending in ("csv", "tsv") for path in root.glob(f"*.{ending}")):
            if found := guess_columns(root, path):
                key = split_of_path(path.relative_to(root)) or "table"
                if known in ({}, found):
                    tables.setdefault(key if "split_column" not in found else "table", path.name)
                    known = found
        if not tables or ("table" in tables and len(tables) > 1):
            return None
        no_column = {"split_column": NO_COLUMN} if "table" in tables else {}
        return cls(root=str(root), **tables, **no_column | known)

    def split(self, name: str) -> FolderSet:
        """Return the clips that the tables, a column of splits or folds, or a share assign to a split."""
        check_split(name, "the table")
        root = check_root(self.root, "the data", "the clips and their tables")
        tables = {given: root / getattr(self, given) for given in ("table", *NAMES) if getattr(self, given)}
        if not tables:
            raise DataNotFoundError(
                "data: no table is given; name it: -s data.table=FILE.csv, or data.train, data.test, ..."
            )
        if "table" not in tables and name not in tables and not ("train" in tables and getattr(self, f"{name}_share")):
            raise SplitNotFoundError(
                f"data: {name} is not given; name the table of that split: -s data.{name}=FILE.csv"
            )
        rows = [row for given, table in tables.items() for row in self._rows(given, table)]
        if self._has_folds:
            check_folds(self, (row.fold for row in rows), f"{tables['table']}, column {self.split_column}")
        classes = self.classes or tuple(sorted({label for row in rows for label in row.labels}))
        columns = {label: column for column, label in enumerate(classes)}
        recordings: list[Recording] = []
        for row in rows:
            found = index_labels(row.where, row.labels, columns, Path("data.classes"), "add it there, or fix the row")
            if row.split == name:
                recordings.append(Recording(id=row.file, path=with_ending(root / row.file), columns=found))
        table = tables.get(name) or tables.get("table") or tables["train"]
        if not recordings:
            advice = "" if name == "train" else f"; {self._how_to_have(name, tables, rows)}"
            raise SplitNotFoundError(f"{table}: no clip is in the {name} split{advice}")
        there, missing = those_there(recordings, self.missing, table, self._where_to_begin(root, recordings))
        task: Task = "multi_label" if self.several else "single_label"
        return FolderSet(classes, there, task=task, missing=missing, channels=self.channels)

    def _how_to_have(self, name: str, tables: Iterable[str], rows: Iterable[_Row]) -> str:
        """Return advice on how to get clips into val or test, where it has none."""
        if self._has_folds and not getattr(self, f"{name}_folds") and not getattr(self, f"{name}_share"):
            return f"name its folds, -s data.{name}_folds=[...], or set a share apart: -s data.{name}_share=0.1"
        if self._has_column and not self._has_folds:
            return f"give rows of {self.table} the {self.split_column} {name}"
        drawn_from = sum(row.split == "train" or row.split not in tables for row in rows)
        return drew_none(self, name, drawn_from) or f"set a share apart: -s data.{name}_share=0.1"

    def _where_to_begin(self, root: Path, recordings: Sequence[Recording]) -> str:
        """Return advice on missing clips: often they are in a folder next to the table."""
        folders = [] if any(recording.path.is_file() for recording in recordings) else subfolders(root)
        files = [recording.id for recording in recordings[:LOOKED_AT]]
        folder = next((folder for folder in folders if any(is_clip_under(folder, file) for file in files)), None)
        if folder is None:
            return "check data.root and data.file"
        given = {key: getattr(self, key) for key in ("table", *NAMES) if getattr(self, key)}
        tables = " ".join(f"-s {key}={shlex.quote(os.path.join('..', path))}" for key, path in given.items())
        return f"start from the folder of the clips: {folder} with {tables}"

    def _rows(self, given: str, table: Path) -> Iterable[_Row]:
        by_column = given == "table" and self._has_column
        options = {"file": self.file, "label": self.label} | ({"split_column": self.split_column} if by_column else {})
        columns = tuple(options.values())
        for line, row in read_table(table, columns, separator=SEPARATORS[self.separator], options=options):
            where = f"{table}, line {line}"
            split, fold = "train" if given == "table" else given, ""
            if by_column and self._has_folds:
                fold = row[self.split_column].strip()
                split = split_of_fold(fold, self)
                if not fold:
                    raise DataError(f"{where}: {self.split_column} is empty; it must give the clip's fold")
            elif by_column:
                value = row[self.split_column].strip()
                advice = (
                    f"; if it is the fold, say which to test on: -s test_folds=[{value}]" if value.isdecimal() else ""
                )
                split = read_split(where, self.split_column, row[self.split_column], advice)
            file = row[self.file].replace("\\", "/").removeprefix("./")
            if not file or leads_out(file):
                raise DataError(f"{where}: {self.file} is {row[self.file]!r}; it must be a path below {self.root}")
            if split == "train" and (fold or not by_column):
                split = draw_split(file, self)
            labels = split_labels(where, row[self.label], self.several)
            yield _Row(where=where, split=split, fold=fold, file=file, labels=labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A clip of a table."""

    where: str
    split: str
    fold: str
    file: str
    labels: tuple[str, ...]
