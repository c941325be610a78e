"""AudioSet as published: tables of segments, the ontology's list of classes, and a folder of clips for each table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastast.data.folders import (
    FolderSet,
    Recording,
    check_root,
    check_root_is_text,
    read_rows,
    read_table,
    read_whole,
    refuse_missing,
)
from fastast.data.training_set import DataError, DataNotFoundError
from fastast.names import unknown_name

LABELS = "class_labels_indices.csv"
TABLES = {
    "balanced": ("balanced_train_segments.csv",),
    "full": ("balanced_train_segments.csv", "unbalanced_train_segments.csv"),
    "eval": ("eval_segments.csv",),
}
ENDINGS = ("wav", "flac", "ogg", "opus", "mp3")
MISSING = ("refuse", "leave out")


@dataclass(frozen=True, kw_only=True)
class AudioSet:
    """The `[data]` of a recipe on AudioSet (Gemmeke et al. 2017).

    `root` holds `class_labels_indices.csv`, the tables of segments, and for each table a folder of its name without
    `_segments.csv` (`balanced_train/`, `unbalanced_train/`, `eval/`) with a file a clip: YTID.wav, or YYTID.wav as some
    downloaders write it (flac, ogg, opus and mp3 as well).
    """

    root: str = ""
    """Folder of tables and clips."""
    subset: str = "balanced"
    """What is trained on: `balanced` (20 k clips), or `full` (2 M clips, the balanced ones among them)."""
    missing: str = "refuse"
    """Clips that are not there, as many videos are no more: `refuse` to start, or `leave out` (the count is logged)."""

    def __post_init__(self) -> None:
        check_root_is_text(self.root)
        for name, allowed in (("subset", ("balanced", "full")), ("missing", MISSING)):
            if getattr(self, name) not in allowed:
                raise DataError(f"data: {unknown_name(name, getattr(self, name), allowed)}")

    def split(self, name: str) -> FolderSet:
        """Return train (the subset), or val, which is the same as test (the evaluation set)."""
        if name not in ("train", "val", "test"):
            raise DataError(unknown_name("split of AudioSet", name, ("train", "val", "test")))
        root = check_root(self.root, "AudioSet", f"{LABELS}, the tables of segments and a folder of clips for each")
        mids, classes = read_ontology(root / LABELS)
        recordings: list[Recording] = []
        left_out = 0
        for table in TABLES[self.subset if name == "train" else "eval"]:
            found, missing = self._read(root, root / table, mids)
            recordings += found
            left_out += missing
        if not recordings:
            raise DataNotFoundError(f"{root}: not one clip of the {name} split is there")
        return FolderSet(classes, recordings, task="multi_label", left_out=left_out)

    def _read(self, root: Path, table: Path, mids: dict[str, int]) -> tuple[list[Recording], int]:
        folder = root / table.name.removesuffix("_segments.csv")
        there = _files(folder)
        recordings, missing = [], []
        for line, clip, labels in read_segments(table):
            for label in labels:
                if label not in mids:
                    raise DataError(
                        f"{table}, line {line}: label {label!r} is not in the ontology ({root / LABELS}); use the "
                        "tables of one release"
                    )
            path = there.get(clip) or there.get(f"Y{clip}")
            if path is None:
                missing.append(folder / f"{clip}.wav")
            else:
                columns = tuple(mids[label] for label in labels)
                recordings.append(Recording(id=clip, path=path, columns=columns))
        if self.missing == "refuse":
            advice = 'fetch them, or leave them out and count them: -s data.missing="leave out"'
            refuse_missing(missing, len(missing) + len(recordings), table, advice)
        return recordings, len(missing)


def read_ontology(table: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the index of every class by its machine id, and the names of the classes by index."""
    mids: dict[str, int] = {}
    names: dict[int, str] = {}
    rows = read_table(table, ("index", "mid", "display_name"))
    for line, row in rows:
        index = read_whole(f"{table}, line {line}", "index", row["index"])
        if index in names or row["mid"] in mids or index >= len(rows):
            raise DataError(
                f"{table}, line {line}: index is {index}, mid is {row['mid']!r}; indices must be 0 to "
                f"{len(rows) - 1}, each once, and no mid may come twice"
            )
        mids[row["mid"]], names[index] = index, row["display_name"]
    return mids, tuple(names[index] for index in range(len(rows)))


def read_segments(table: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield line number, YouTube id and labels of every segment; lines that begin with # are comments."""
    for line, row in read_rows(table, "AudioSet"):
        if not row or row[0].startswith("#"):
            continue
        if len(row) != 4 or not row[3]:
            raise DataError(f'{table}, line {line}: {row!r} is not: id, start, end, "labels"')
        yield line, row[0], tuple(row[3].split(","))


def _files(folder: Path) -> dict[str, Path]:
    """Return the clips of a folder by their names without ending."""
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: there is no such folder; it must hold the clips of its table")
    return {path.stem: path for path in folder.iterdir() if path.suffix.lstrip(".").lower() in ENDINGS}
