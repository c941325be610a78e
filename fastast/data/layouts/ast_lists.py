"""Data in the format of AST, SSAST, AudioMAE and PSLA: JSON lists of labelled files, and `class_labels_indices.csv`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastast.data.clip_files import find_root, subfolders
from fastast.data.datasets import LATER
from fastast.data.folders import (
    FolderSet,
    Recording,
    check_allowed,
    check_data_options,
    check_root,
    check_split,
    those_there,
)
from fastast.data.layouts.ontology import LABELS, read_ontology
from fastast.data.split_names import split_of_path
from fastast.data.tables import split_labels
from fastast.data.training_set import DataError, DataNotFoundError, SplitNotFoundError
from fastast.metrics import Task

_LIST = re.compile(rb'\s*\{\s*"data"\s*:\s*\[\s*\{')
"""Start of a list file, by which it is recognised."""
TASKS: tuple[Task, ...] = ("multi_label", "single_label")


@dataclass(frozen=True, kw_only=True)
class ASTLists:
    """The `[data]` section of a recipe for data in AST's own format.

    A list is `{"data": [{"wav": path, "labels": "/m/09x0r,/m/05zppz"}, ...]}`. An absolute path that exists is
    used as it is. Of any other, the longest tail that exists is used, below `audio` if that is set, else below `root`
    or the list's folder, so that lists from other machines work unchanged.
    """

    root: str = ""
    """Folder that holds the lists and the table of classes."""
    train: str = ""
    """List of the training clips, below `root`."""
    val: str = ""
    """List of the validation clips. Empty: the list of `test`, as AST does on AudioSet."""
    test: str = ""
    """List of the test clips."""
    classes: str = LABELS
    """Table of the classes, with columns index, mid and display_name."""
    audio: str = ""
    """Folder of the audio files, if the paths in the lists do not lead to them."""
    task: str = "multi_label"
    """Task, which decides the metric: `multi_label` (mAP) or `single_label` (accuracy)."""
    missing: str = "refuse"
    """What to do about missing clips: `refuse` to start, or `leave out` (the count is logged)."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        check_allowed("task", self.task, TASKS)

    @classmethod
    def recognise(cls, root: Path) -> ASTLists | None:
        """Return the options that read a folder; None where it lacks a list or the table of classes."""
        lists: dict[str, str] = {}
        for folder in (root, *subfolders(root)):
            for path in sorted(folder.glob("*.json")):
                split = split_of_path(path.relative_to(root))
                with path.open("rb") as file:
                    begins = _LIST.match(file.read(256))
                if begins and split:
                    lists.setdefault(split, path.relative_to(root).as_posix())
        classes = find_root(root, LABELS)
        return cls(root=str(root), **lists) if lists and (classes / LABELS).is_file() else None

    def split(self, name: str) -> FolderSet:
        """Return the clips that the list of a split names."""
        check_split(name, "the lists")
        root = check_root(self.root, "the data", f"JSON lists of files, and {LABELS}")
        given = getattr(self, name) or (self.test if name == "val" else "")
        if not given:
            raise SplitNotFoundError(
                f"data: {name} is not given; name the list of that split: -s data.{name}=FILE.json"
            )
        table = root / given
        ontology = read_ontology(find_root(root, self.classes) / self.classes)
        folders = [Path(self.audio).expanduser()] if self.audio else [root, table.parent]
        recordings: list[Recording] = []
        for number, (file, text) in enumerate(read_list(table)):
            where = f"{table}, entry {number}"
            columns = ontology.find(where, split_labels(where, text))
            if self.task == "single_label" and len(columns) != 1:
                raise DataError(f"{where}: {len(columns)} labels; with data.task = single_label a clip has one")
            recordings.append(Recording(id=file, path=_locate(file, folders), columns=columns))
        advice = "say where they are: -s data.audio=FOLDER"
        there, missing = those_there(recordings, self.missing, table, advice)
        task: Task = "single_label" if self.task == "single_label" else "multi_label"
        return FolderSet(ontology.classes, there, task=task, missing=missing, channels=self.channels)


def read_list(table: Path) -> list[tuple[str, str]]:
    """Return path and labels of every entry. Raises DataError, naming the entry, where the file is not such a list."""
    if not table.is_file():
        raise DataNotFoundError(f"{table}: there is no such list")
    try:
        content: Any = json.loads(table.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # invalid JSON, or text that is not UTF-8
        raise DataError(f"{table}: not readable as JSON: {error}") from error
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f'{table}: it must be {{"data": [{{"wav": path, "labels": "..."}}, ...]}}')
    found = []
    for number, entry in enumerate(entries):
        wav, labels = (entry.get("wav"), entry.get("labels")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(wav, str) and wav and isinstance(labels, str) and labels):
            raise DataError(f'{table}, entry {number}: {entry!r} must have "wav" and "labels", both text')
        found.append((wav, labels))
    return found


def _locate(file: str, folders: list[Path]) -> Path:
    """Return where a listed file is: at its absolute path, else at the longest tail of it that is below a folder."""
    path = Path(file.replace("\\", "/"))
    if path.is_absolute() and path.is_file():
        return path
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for folder in folders:
        for first in range(len(parts)):
            if (found := folder.joinpath(*parts[first:])).is_file():
                return found
    return path
