"""ESC-50 as published: `meta/esc50.csv` and `audio/*.wav`, five folds (Piczak 2015)."""

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
    those_there,
)
from fastast.data.tables import read_table, read_whole
from fastast.data.training_set import DataError

TABLE = "meta/esc50.csv"
FOLDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class ESC50:
    """The `[data]` section of a recipe for ESC-50; one fold is held out for testing."""

    root: str = ""
    """Folder of the unpacked archive, with `meta/esc50.csv` and `audio/`."""
    fold: int = 1
    """Official fold to test on, 1 to 5; the other four are for training."""
    missing: str = field(default="refuse", metadata=LATER)
    """What to do about missing clips: `refuse` to start, or `leave out` (the count is logged)."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        if isinstance(self.fold, bool) or not isinstance(self.fold, int) or self.fold not in FOLDS:
            raise DataError(f"data: fold is {self.fold!r}; ESC-50 has the folds 1, 2, 3, 4 and 5")

    @classmethod
    def recognise(cls, root: Path) -> ESC50 | None:
        """Return the options for a folder of this layout; None for any other folder."""
        return cls(root=str(root)) if (find_root(root, TABLE) / TABLE).is_file() else None

    def split(self, name: str) -> FolderSet:
        """Return train (four folds), or val or test, which are the same (the fold that is held out)."""
        check_split(name, "ESC-50")
        root = find_root(check_root(self.root, "ESC-50", f"{TABLE} and audio/"), TABLE)
        table = root / TABLE
        names: dict[int, str] = {}
        recordings = []
        for line, row in read_table(table, ("filename", "fold", "target", "category")):
            where = f"{table}, line {line}"
            fold, target = (read_whole(where, column, row[column]) for column in ("fold", "target"))
            if fold not in FOLDS:
                raise DataError(f"{where}: fold is {fold}; ESC-50 has the folds 1, 2, 3, 4 and 5")
            if names.setdefault(target, row["category"]) != row["category"]:
                raise DataError(
                    f"{where}: target {target} is {row['category']!r} here and {names[target]!r} above; a target has "
                    "one category"
                )
            if (fold != self.fold) == (name == "train"):
                file = row["filename"]
                recordings.append(Recording(id=file, path=root / "audio" / file, columns=(target,)))
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{table}: targets must be 0 to {len(names) - 1} without a gap; found {sorted(names)[:8]}…")
        if not recordings:
            raise DataError(f"{table}: no clip is in the {name} part of fold {self.fold}")
        there, missing = those_there(recordings, self.missing, table, "unpack the whole archive")
        classes = tuple(names[i] for i in range(len(names)))
        return FolderSet(classes, there, task="single_label", missing=missing, channels=self.channels)
