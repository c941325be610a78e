"""FSD50K as published on Zenodo: 200 classes of AudioSet's ontology, labels with their parents (Fonseca et al. 2022).

Labels are scored exactly as the tables give them. mAP is the mean over classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastast.data.clip_files import find_root
from fastast.data.datasets import LATER
from fastast.data.folders import (
    FolderSet,
    Recording,
    check_data_options,
    check_root,
    check_split,
    index_labels,
    those_there,
)
from fastast.data.tables import read_rows, read_table, read_whole, split_labels
from fastast.data.training_set import DataError, SplitNotFoundError

TABLES = "FSD50K.ground_truth"
VOCABULARY = "vocabulary.csv"
AUDIO = {"dev": "FSD50K.dev_audio", "eval": "FSD50K.eval_audio"}


@dataclass(frozen=True, kw_only=True)
class FSD50K:
    """The `[data]` section of a recipe for FSD50K: train and val are parts of its dev set, test is its eval set."""

    root: str = ""
    """Folder with `FSD50K.dev_audio/`, `FSD50K.eval_audio/` and `FSD50K.ground_truth/`, as unpacked."""
    missing: str = field(default="refuse", metadata=LATER)
    """What to do about missing clips: `refuse` to start, or `leave out` (the count is logged)."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)

    @classmethod
    def recognise(cls, root: Path) -> FSD50K | None:
        """Return the options for a folder of this layout; None for any other folder."""
        return cls(root=str(root)) if (find_root(root, TABLES) / TABLES).is_dir() else None

    def split(self, name: str) -> FolderSet:
        """Return train or val, the parts of the dev set by its column `split`, or test, the eval set."""
        check_split(name, "FSD50K")
        root = find_root(check_root(self.root, "FSD50K", f"{TABLES}/, {' and '.join(AUDIO.values())}/"), TABLES)
        tables = find_root(root / TABLES, VOCABULARY, depth=1) if (root / TABLES).is_dir() else root / TABLES
        part = "eval" if name == "test" else "dev"
        table, folder = tables / f"{part}.csv", _audio(root, part)
        classes = read_vocabulary(tables / VOCABULARY)
        columns = {label: column for column, label in enumerate(classes)}
        recordings = []
        for line, row in read_table(table, ("fname", "labels", *(["split"] if part == "dev" else []))):
            where = f"{table}, line {line}"
            if part == "dev" and row["split"] not in ("train", "val"):
                raise DataError(f"{where}: split is {row['split']!r}; it must be train or val")
            labels = split_labels(where, row["labels"])
            found = index_labels(where, labels, columns, tables / VOCABULARY, "use the tables of one release")
            if part == "eval" or row["split"] == name:
                recordings.append(Recording(id=row["fname"], path=folder / f"{row['fname']}.wav", columns=found))
        if not recordings:
            raise DataError(f"{table}: no clip is in the {name} part")
        advice = "unpack all parts of the archive (zip -s 0, then unzip)"
        there, missing = those_there(recordings, self.missing, table, advice)
        return FolderSet(classes, there, task="multi_label", missing=missing, channels=self.channels)


def _audio(root: Path, part: str) -> Path:
    """Return the folder of a part's clips; unpacking often nests it in a folder of the same name."""
    folder = root / AUDIO[part]
    if not folder.is_dir():
        raise SplitNotFoundError(
            f"{folder}: there is no such folder; it must hold the clips of {part}.csv", listed=True
        )
    inner = folder / AUDIO[part]
    return inner if inner.is_dir() else folder


def read_vocabulary(table: Path) -> tuple[str, ...]:
    """Return the classes in the order of their indices, from rows of index, label and machine id; skip a header.

    Raises DataError, naming the line, for a malformed row and for an index or label that appears twice; or, naming the
    table, for a gap in the indices.
    """
    names: dict[int, str] = {}
    for line, row in read_rows(table, "FSD50K"):
        if not row or row[0] == "index":
            continue
        where = f"{table}, line {line}"
        if len(row) != 3:
            raise DataError(f"{where}: {row!r} must be index, label, mid")
        index = read_whole(where, "index", row[0])
        if index in names or row[1] in names.values():
            raise DataError(f"{where}: index {index} or label {row[1]!r} already appears above")
        names[index] = row[1]
    if sorted(names) != list(range(len(names))) or not names:
        raise DataError(f"{table}: indices must be 0 to {len(names) - 1} without a gap; found {sorted(names)[:8]}…")
    return tuple(names[index] for index in range(len(names)))
