"""AudioSet: the official segment tables, with the clips as download tools store them (Gemmeke et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastast.data.clip_files import clip_files, find_root, subfolders
from fastast.data.datasets import LATER
from fastast.data.folders import (
    FolderSet,
    Recording,
    check_allowed,
    check_data_options,
    check_root,
    check_split,
)
from fastast.data.layouts.audioset_names import ClipNames
from fastast.data.layouts.ontology import LABELS, Ontology, read_ontology
from fastast.data.tables import read_rows, split_labels
from fastast.data.training_set import DataError, DataNotFoundError, SplitNotFoundError

TABLES = {
    "balanced": ("balanced_train_segments.csv",),
    "full": ("balanced_train_segments.csv", "unbalanced_train_segments.csv"),
    "eval": ("eval_segments.csv",),
}
FOLDERS = {
    "balanced_train_segments.csv": ("balanced_train_segments", "balanced_train", "bal_train", "balanced"),
    "unbalanced_train_segments.csv": ("unbalanced_train_segments", "unbalanced_train", "unbal_train", "unbalanced"),
    "eval_segments.csv": ("eval_segments", "evaluation", "eval"),
}
"""Table -> names that PANNs, CED and others give to the folder with its clips."""
_DEPTH = 3
"""Number of levels below the root that are searched for such a folder."""


@dataclass(frozen=True, kw_only=True)
class AudioSet:
    """The `[data]` section of a recipe for AudioSet.

    `root`, or a folder below it, holds `class_labels_indices.csv` and the segment tables. The clips of a table are in a
    folder named after it (`eval_segments/`, `eval/`, `audios/eval_segments/`) or anywhere below the root, with or
    without subfolders. They are called ID, YID, ID_30.000_40.000, ID_30.000, ID_000030 and the like, in any format.
    """

    root: str = ""
    """Folder that holds the tables and the clips."""
    subset: str = "balanced"
    """Training set: `balanced` (20 k clips) or `full` (2 M clips, including the balanced ones)."""
    missing: str = "refuse"
    """What to do about missing clips (many videos are gone): `refuse` to start or `leave out` (the count is logged)."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        check_allowed("subset", self.subset, ("balanced", "full"))

    @classmethod
    def recognise(cls, root: Path) -> AudioSet | None:
        """Return the options for a folder of this layout; None for any other folder."""
        if not any((find_root(root, table) / table).is_file() for table in FOLDERS):
            return None
        has_unbalanced = clip_folders(root, "unbalanced_train_segments.csv") != [root]
        return cls(root=str(root), subset="full" if has_unbalanced else "balanced")

    def split(self, name: str) -> FolderSet:
        """Return train (the subset), or val or test, which are the same (the evaluation set)."""
        check_split(name, "AudioSet")
        root = check_root(self.root, "AudioSet", f"{LABELS}, the tables of segments and the clips")
        ontology = read_ontology(find_root(root, LABELS) / LABELS)
        recordings: list[Recording] = []
        missing: list[str] = []
        for table in TABLES[self.subset if name == "train" else "eval"]:
            path = find_root(root, table) / table
            if not path.is_file():
                raise SplitNotFoundError(f"{path}: there is no such file; it comes with AudioSet")
            found, lost = self._read(root, path, ontology)
            recordings += found
            missing += lost
        return FolderSet(ontology.classes, recordings, task="multi_label", missing=missing, channels=self.channels)

    def _read(self, root: Path, table: Path, ontology: Ontology) -> tuple[list[Recording], list[str]]:
        segments = list(read_segments(table))
        folders = clip_folders(root, table.name)
        names = ClipNames([path for folder in folders for path in clip_files(folder)], (s.id for s in segments))
        recordings, missing = [], []
        for segment in segments:
            columns = ontology.find(f"{table}, line {segment.line}", segment.labels)
            path = names.find(segment.id, segment.start, segment.end)
            if path is None:
                missing.append(segment.id)
            else:
                recordings.append(Recording(id=segment.id, path=path, columns=columns))
        if missing and not recordings and self.missing != "refuse":
            raise SplitNotFoundError(
                f"{folders[0] / missing[0]}.wav: this clip of {table.name} is missing, as are all the others "
                f"({len(missing)} in all){names.describe(missing)}; fetch them",
                listed=True,
            )
        if missing and self.missing == "refuse":
            raise DataNotFoundError(
                f"{folders[0] / missing[0]}.wav: this clip of {table.name} is missing, as are {len(missing) - 1} more "
                f"of {len(segments)}{names.describe(missing)}; fetch them, or leave them out and count them: "
                '-s data.missing="leave out"'
            )
        return recordings, missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A row of a segment table."""

    line: int
    """Line of the row in the table."""
    id: str
    """YouTube id of the video."""
    start: float
    """Start of the clip in the video, in seconds."""
    end: float
    """End of the clip in the video, in seconds."""
    labels: tuple[str, ...]
    """Machine ids of the clip's classes, such as /m/09x0r."""


def read_segments(table: Path) -> Iterator[Segment]:
    """Yield every segment, without comments (#). Raises DataError, naming the line, for a row that is not a segment."""
    for line, row in read_rows(table, "AudioSet"):
        if not row or row[0].startswith("#") or row[0] == "YTID":
            continue
        where = f"{table}, line {line}"
        try:
            name, start, end, labels = (value.strip() for value in row)
            yield Segment(line=line, id=name, start=float(start), end=float(end), labels=split_labels(where, labels))
        except DataError:
            raise
        except ValueError:
            raise DataError(f'{where}: {row!r} must be id, start, end, "labels"') from None


def clip_folders(root: Path, table: str) -> list[Path]:
    """Return the folders nearest to the root that are named after a table, or the root itself if none is."""
    level = [root]
    for _ in range(_DEPTH):
        level = [below for folder in level for below in subfolders(folder)]
        if found := [folder for folder in level if folder.name in FOLDERS[table]]:
            return found
    return [root]
