"""Audio folders as the `datasets` library has them: a folder per class, in a folder per split, or with a metadata file.

https://huggingface.co/docs/datasets/audio_dataset#audiofolder
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastast.data.clip_files import clip_files, subfolders
from fastast.data.datasets import LATER
from fastast.data.folders import FolderSet, Recording, check_data_options, check_root, check_split
from fastast.data.shares import check_shares, draw_split
from fastast.data.split_names import split_of
from fastast.data.tables import leads_out, read_lines, read_table, split_labels
from fastast.data.training_set import DataError, DataNotFoundError, SplitNotFoundError
from fastast.metrics import Task

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"
"""Their column with the path of a clip."""


@dataclass(frozen=True, kw_only=True)
class AudioFolder:
    """The `[data]` of a recipe on audio folders.

    `train/dog/1.wav`, `test/dog/2.wav`, ...; or `dog/1.wav` without splits, of which shares are set apart; or, in the
    folder of a split, `metadata.csv` or `metadata.jsonl` with the columns `file_name` and `label`.
    """

    root: str = ""
    """Folder of the splits, or of the classes."""
    label: str = "label"
    """Column of a metadata file with the class, or the classes."""
    several: str = ""
    """What stands between labels in a metadata file where a clip may have several, such as `,`. A list in a
    `metadata.jsonl` needs none. Empty: every clip has one."""
    val_share: float = 0.0
    """Share of the clips to train on that are set apart to validate on, where no folder is; drawn by name, always the
    same."""
    test_share: float = 0.0
    """Share of them to test on, likewise."""
    channels: str = field(default="average", metadata=LATER)
    """What is made of several channels: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        check_shares(self)

    @classmethod
    def recognise(cls, root: Path) -> AudioFolder | None:
        """Return the options that read a folder, None where no clip in it has a class by its folder or a table."""
        below = [folder for folder in subfolders(root) if next(clip_files(folder), None) is not None]
        listed = any((folder / name).is_file() for folder in (root, *below) for name in METADATA)
        return cls(root=str(root)) if below or listed else None

    def split(self, name: str) -> FolderSet:
        """Return the clips of a split."""
        check_split(name, "the audio folder")
        root = check_root(self.root, "the data", "a folder per split, or a folder per class")
        clips = self._clips(root)
        classes = tuple(sorted({label for clip in clips for label in clip.labels}))
        columns = {label: column for column, label in enumerate(classes)}
        recordings = [
            Recording(id=clip.id, path=root / clip.id, columns=tuple(columns[label] for label in clip.labels))
            for clip in clips
            if clip.split == name
        ]
        if not recordings:
            found = sorted({clip.split for clip in clips})
            share = "" if name == "train" else f", or set a share apart: -s data.{name}_share=0.1"
            raise SplitNotFoundError(
                f"{root}: no clip is in the {name} split; there is {', '.join(found) or 'none'}. Make a folder {name}/"
                f"{share}"
            )
        several = self.several or any(len(clip.labels) != 1 for clip in clips)
        task: Task = "multi_label" if several else "single_label"
        return FolderSet(classes, recordings, task=task, channels=self.channels)

    def _clips(self, root: Path) -> list[_Clip]:
        splits = _split_folders(root)
        for folder, split in splits.items():
            if split != "train" and getattr(self, f"{split}_share"):
                raise DataError(f"{root}: {folder.name}/ is its {split} split; leave data.{split}_share out")
        folders = splits or {root: "train"}
        return [
            _Clip(id=path, labels=labels, split=draw_split(path, self) if split == "train" else split)
            for folder, split in folders.items()
            for path, labels in self._read(root, folder)
        ]

    def _read(self, root: Path, folder: Path) -> list[tuple[str, tuple[str, ...]]]:
        """Return path below the root and labels of every clip of a split."""
        metadata = [folder / name for name in METADATA if (folder / name).is_file()]
        if metadata:
            return [(path.relative_to(root).as_posix(), labels) for path, labels in self._listed(metadata[0])]
        found: list[tuple[str, tuple[str, ...]]] = []
        for path in clip_files(folder):
            label = path.relative_to(folder).parts[0]
            if label == path.name:
                raise DataError(f"{path}: in no folder of a class, and there is no {METADATA[0]} that gives its label")
            found.append((path.relative_to(root).as_posix(), (label,)))
        return found

    def _listed(self, table: Path) -> list[tuple[Path, tuple[str, ...]]]:
        rows = _json_lines(table) if table.suffix == ".jsonl" else read_table(table, (FILE_NAME, self.label))
        found = []
        for line, row in rows:
            where = f"{table}, line {line}"
            name = str(row.get(FILE_NAME, ""))
            if leads_out(name):
                raise DataError(f"{where}: {FILE_NAME} is {name!r}; it must be a path below {table.parent}")
            path = table.parent / name
            if not path.is_file():
                raise DataNotFoundError(f"{where}: {path}: this clip is not there; mend the table, or fetch the clip")
            value = row.get(self.label)
            if isinstance(value, list) and all(isinstance(label, str) and label for label in value):
                found.append((path, tuple(dict.fromkeys(value))))
            elif isinstance(value, str):
                found.append((path, split_labels(where, value, self.several)))
            else:
                raise DataError(f"{where}: {self.label} is {value!r}; it must be text, or a list of texts")
        return found


def _split_folders(root: Path) -> dict[Path, str]:
    """Return the folders of splits; none where one of several classes is but called like a split (train, say)."""
    below = [folder for folder in subfolders(root) if next(clip_files(folder), None) is not None]
    splits = {folder: split for folder in below if (split := split_of(folder.name))}
    others = [folder for folder in below if folder not in splits]
    if others and len(splits) > 1:
        names = ", ".join(folder.name for folder in splits)
        raise DataError(
            f"{others[0]}: is this a class, or not part of the data? Beside it are folders for splits ({names}); move "
            "one or the other elsewhere"
        )
    return {} if others else splits


def _json_lines(table: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for line, text in read_lines(table):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: not readable as JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{table}, line {line}: {text.strip()!r} is not an object with file_name and label")
        found.append((line, value))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clip:
    """A file with its labels and split."""

    id: str
    labels: tuple[str, ...]
    split: str
