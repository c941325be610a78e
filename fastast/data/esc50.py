"""ESC-50 as published: `meta/esc50.csv` and `audio/*.wav`, five folds (Piczak 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from fastast.data.folders import FolderSet, Recording, check_root, read_table, refuse_missing
from fastast.data.training_set import DataError
from fastast.names import unknown_name

FOLDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class ESC50:
    """The `[data]` of a recipe on ESC-50; one fold is left out to test on."""

    root: str = ""
    """The unpacked archive: holds `meta/esc50.csv` and `audio/`."""
    fold: int = 1
    """Official fold, 1 to 5, that is tested on; the other four are trained on."""

    def __post_init__(self) -> None:
        if isinstance(self.fold, bool) or self.fold not in FOLDS:
            raise DataError(f"data: fold is {self.fold!r}; ESC-50 has the folds 1, 2, 3, 4 and 5")

    def split(self, name: str) -> FolderSet:
        """Return train (four folds) or val, which is the same as test (the fold that is left out)."""
        if name not in ("train", "val", "test"):
            raise DataError(unknown_name("split of ESC-50", name, ("train", "val", "test")))
        root = check_root(self.root, "ESC-50", "meta/esc50.csv and audio/")
        table = root / "meta" / "esc50.csv"
        rows = read_table(table, ("filename", "fold", "target", "category"))
        names: dict[int, str] = {}
        for line, row in enumerate(rows, start=2):
            if not row["target"].isdecimal() or not row["fold"].isdecimal() or int(row["fold"]) not in FOLDS:
                raise DataError(
                    f"{table}, line {line}: target {row['target']!r} and fold {row['fold']!r} must be numbers"
                )
            if names.setdefault(int(row["target"]), row["category"]) != row["category"]:
                raise DataError(
                    f"{table}, line {line}: target {row['target']} is {row['category']!r} here and "
                    f"{names[int(row['target'])]!r} above; a target has one category"
                )
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{table}: targets must be 0 to {len(names) - 1} without a gap; found {sorted(names)[:8]}…")
        chosen = [row for row in rows if (int(row["fold"]) == self.fold) != (name == "train")]
        if not chosen:
            raise DataError(f"{table}: no clip is in the {name} part of fold {self.fold}")
        recordings = [Recording(path=root / "audio" / r["filename"], columns=(int(r["target"]),)) for r in chosen]
        missing = [recording.path for recording in recordings if not recording.path.exists()]
        refuse_missing(missing, len(recordings), table, "unpack the whole archive")
        return FolderSet(tuple(names[i] for i in range(len(names))), recordings)
