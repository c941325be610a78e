"""Audio folders as in the `datasets` library: a folder per class, in a folder per split, or with a metadata file.

https://huggingface.co/docs/datasets/audio_dataset#audiofolder
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

from fastast.data.clip_files import clip_files, has_clips, sole_folders, subfolders
from fastast.data.datasets import LATER
from fastast.data.folders import FolderSet, Recording, check_data_options, check_root, check_split, those_there
from fastast.data.layouts.metadata_files import (
    METADATA,
    LabelledClip,
    metadata_in,
    metadata_of,
    nearest,
    read_labels_file,
)
from fastast.data.shares import check_shares, draw_split, drew_none
from fastast.data.split_names import split_of
from fastast.data.training_set import DataError, DataWarning, SplitNotFoundError
from fastast.metrics import Task


@dataclass(frozen=True, kw_only=True)
class AudioFolder:
    """The `[data]` section of a recipe for audio folders.

    Clips are `train/dog/1.wav`, `test/dog/2.wav`, ...; or `dog/1.wav` without splits, from which shares can be set
    apart. Or any folder above the clips has a `metadata.csv` or `metadata.jsonl` with the columns `file_name` and
    `label`: the nearest file gives a clip's labels and, where no folder is named after a split, its split, in a column
    `split` or `subset`. All of this may be a level or two below `root`. Broken links are missing clips: they are left
    out and counted.
    """

    root: str = ""
    """Folder that holds the folders of the splits, or those of the classes."""
    label: str = "label"
    """Column of a metadata file with a clip's class or classes."""
    several: str = ""
    """Separator of the labels of one clip in a metadata file, such as `,`; a list in a `metadata.jsonl` needs none.
    Empty: every clip has one label."""
    val_share: float = 0.0
    """Share of the training clips set apart for validation where nothing assigns clips to val; drawn by a hash of the
    path, so always the same clips."""
    test_share: float = 0.0
    """Share of the training clips set apart for testing, likewise."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)
        check_shares(self)

    @classmethod
    def recognise(cls, root: Path) -> AudioFolder | None:
        """Return the options that read a folder; None where it has no metadata file and no subfolder with clips."""
        listed = metadata_in(root) is not None
        return cls(root=str(root)) if listed or any(map(has_clips, subfolders(root))) else None

    def split(self, name: str) -> FolderSet:
        """Return the clips of a split."""
        check_split(name, "the audio folder")
        root = _begin(check_root(self.root, "the data", "a folder per split, or a folder per class"))
        clips = self._clips(root)
        classes = tuple(sorted({label for clip in clips for label in clip.labels}))
        columns = {label: column for column, label in enumerate(classes)}
        recordings = [
            Recording(id=clip.id, path=root / clip.id, columns=tuple(columns[label] for label in clip.labels))
            for clip in clips
            if clip.split == name
        ]
        if not recordings:
            found = ", ".join(sorted({clip.split for clip in clips})) or "none"
            table = metadata_in(root)
            way = f"Make a folder {name}/" if table is None else f"Write {name} into a column split of {table.name}"
            advice = f"splits found: {found}. {way}"
            if name != "train":
                drawn = drew_none(self, name, sum(clip.drawn for clip in clips))
                advice = drawn or f"{advice}, or set a share apart: -s data.{name}_share=0.1"
            raise SplitNotFoundError(f"{root}: no clip is in the {name} split; {advice}")
        there, lost = those_there(recordings, "leave out", root, "fetch what these links lead to (git annex get)")
        several = self.several or any(len(clip.labels) != 1 for clip in clips)
        task: Task = "multi_label" if several else "single_label"
        return FolderSet(classes, there, task=task, missing=lost, channels=self.channels)

    def _clips(self, root: Path) -> list[_Clip]:
        splits = next(filter(None, map(_split_folders, sole_folders(root))), {})
        for folder, split in splits.items():
            if split != "train" and getattr(self, f"{split}_share"):
                raise DataError(f"{root}: {folder.name}/ is its {split} split; leave data.{split}_share out")
        folders = splits or {root: "train"}
        found = [
            (one.path.relative_to(root).as_posix(), one.labels, one.split or split)
            for folder, split in folders.items()
            for one in self._read(root, folder, by_folder=bool(splits))
        ]
        for name in ("val", "test"):
            if getattr(self, f"{name}_share") and any(split == name for _, _, split in found):
                raise DataError(f"{root}: a metadata file says which clips are {name}; leave data.{name}_share out")
        return [
            _Clip(
                id=clip,
                labels=labels,
                split=draw_split(clip, self) if split == "train" else split,
                drawn=split == "train",
            )
            for clip, labels, split in found
        ]

    def _read(self, root: Path, folder: Path, *, by_folder: bool) -> list[LabelledClip]:
        """Return every clip below `folder`; `by_folder` says that the folder's name gives the split."""
        files = list(clip_files(folder, lost=True))
        tables = metadata_of(root, folder, files, self.label)
        if not tables:
            return [LabelledClip(path=path, labels=(_class_folder(folder, path),)) for path in files]
        found = [
            one
            for table in tables.values()
            for one in read_labels_file(table, self.label, self.several, by_folder=by_folder)
            if one.path.is_relative_to(folder) and nearest(one.path, tables) == table
        ]
        listed = {one.path for one in found}
        if others := [path for path in files if path not in listed]:
            warnings.warn(
                f"{folder}: {len(others):,} of {len(files):,} clips are not in {_names(root, tables)} and are left "
                f"out; the first is {others[0].relative_to(root)}",
                DataWarning,
                stacklevel=2,
            )
        return found


def _begin(root: Path) -> Path:
    """Return where an audio folder begins: at a metadata file, a split's folder, or several folders with clips."""
    for folder in sole_folders(root):
        below = [path for path in subfolders(folder) if has_clips(path)]
        if metadata_in(folder) or len(below) > 1 or any(split_of(path.name) for path in below):
            return folder
    return root


def _class_folder(folder: Path, path: Path) -> str:
    """Return the class of a clip: the first folder of its path below that of the split."""
    label = path.relative_to(folder).parts[0]
    if label == path.name:
        raise DataError(f"{path}: not in a class folder, and no {METADATA[0]} gives its label")
    return label


def _names(root: Path, tables: dict[Path, Path]) -> str:
    return ", ".join(table.relative_to(root).as_posix() for table in tables.values())


def _split_folders(root: Path) -> dict[Path, str]:
    """Return the split of every folder that is one; empty where a single one, named `train`, say, is among classes.

    Raises DataError where folders of several splits are mixed with others.
    """
    below = [folder for folder in subfolders(root) if has_clips(folder)]
    splits = {folder: split for folder in below if (split := split_of(folder.name))}
    others = [folder for folder in below if folder not in splits]
    if others and len(splits) > 1:
        names = ", ".join(folder.name for folder in splits)
        raise DataError(
            f"{others[0]}: is this a class, or not part of the data? Next to it are folders of splits ({names}); move "
            "one or the other elsewhere"
        )
    return {} if others else splits


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clip:
    """A clip with its labels and split."""

    id: str
    labels: tuple[str, ...]
    split: str
    drawn: bool
    """Whether the clip is in the training clips that shares are drawn from."""
