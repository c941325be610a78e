"""Parquet shards as on the Hugging Face Hub, each row encoded audio and labels; needs `pip install 'fastast[data]'`.

The defaults fit agkphysics/AudioSet: columns `video_id`, `audio` {bytes, path} and `labels`.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastast.data.clip_files import find_root
from fastast.data.datasets import LATER
from fastast.data.decoding.errors import AudioError
from fastast.data.folders import check_data_options, check_root, check_split
from fastast.data.layouts.ontology import LABELS, read_ontology
from fastast.data.shards import OpenFiles, ShardRow, ShardSet, find_shards, reading, shard_files, split_is_clear
from fastast.data.split_names import NAMES
from fastast.data.training_set import DataError, SplitNotFoundError
from fastast.metrics import Task

ENDINGS = ("parquet",)


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """The `[data]` section of a recipe for Parquet shards.

    A row has one label or a list of them. Labels are strings (machine ids or names of `class_labels_indices.csv`, if
    that file exists) or numbers, which a ClassLabel in a shard's metadata may name (shards may number their classes
    differently). Random access decodes a whole row group per clip: to train on shards, make a cache first
    (`fastast data cache`).
    """

    root: str = ""
    """Folder that holds the shards."""
    train: tuple[str, ...] = ()
    """Shards of the training clips, as patterns below `root`. Empty: the shards named after the split."""
    val: tuple[str, ...] = ()
    """Shards of the validation clips. Empty: those named after the split, else those of `test`, as on AudioSet."""
    test: tuple[str, ...] = ()
    """Shards of the test clips. Empty: the shards named after the split."""
    id: str = "video_id"
    """Column with the id of a clip. Empty: the file name in the audio column, or shard and row if any clip of the split
    has no file name or shares it with another."""
    audio: str = "audio"
    """Column with the encoded audio."""
    label: str = "labels"
    """Column with the label or labels of a clip."""
    classes: str = LABELS
    """Table of the classes, for labels that no ClassLabel names. Without it: all labels in the shards, sorted."""
    channels: str = field(default="average", metadata=LATER)
    """How several channels become one: `average`, or `first` as in AST's own code."""

    def __post_init__(self) -> None:
        check_data_options(self)

    @classmethod
    def recognise(cls, root: Path) -> Parquet | None:
        """Return the options that read a folder; None where no shard in it has encoded audio and labels."""
        for shard in shard_files(root, ENDINGS):
            names = _opened(shard).schema_arrow.names
            label = next((name for name in ("labels", "label", "category", "target", "classes") if name in names), None)
            clip = next((name for name in ("video_id", "id", "filename", "file", "fname") if name in names), "")
            if "audio" in names and label:
                train = () if split_is_clear(root, "train", ENDINGS) else ("data/bal_train/*.parquet",)
                return cls(root=str(root), id=clip, label=label, train=train)
        return None

    def split(self, name: str) -> ParquetSet:
        """Return the clips of a split."""
        check_split(name, "the shards")
        root = check_root(self.root, "the data", "Parquet shards")
        shards = self._shards(root, name)
        columns, classes = self._columns(root, shards)
        rows: list[ShardRow] = []
        several = False
        for shard in shards:
            names, values = self._rows(shard)
            for index, (clip, value) in enumerate(zip(names, values, strict=True)):
                several = several or isinstance(value, list)
                labels = value if isinstance(value, list) else [value]
                wrong = [label for label in labels if not isinstance(label, str | int) or label not in columns]
                if wrong or not labels:
                    raise DataError(f"{shard}, row {index}: {self.label} is {value!r}, which is not a class of {root}")
                found = tuple(dict.fromkeys(columns[label] for label in labels))
                rows.append(ShardRow(id=clip, shard=shard, index=index, columns=found))
        if not rows:
            raise SplitNotFoundError(f"{root}: no clip is in the {name} split")
        if not self.id and len({row.id for row in rows} - {""}) < len(rows):
            rows = [replace(row, id=f"{row.shard.relative_to(root).as_posix()}:{row.index}") for row in rows]
        task: Task = "multi_label" if several else "single_label"
        return ParquetSet(classes, rows, task=task, channels=self.channels, audio=self.audio)

    def _shards(self, root: Path, name: str) -> list[Path]:
        try:
            return find_shards(root, name, getattr(self, name), ENDINGS)
        except SplitNotFoundError:
            if name == "val" and not self.val:
                return find_shards(root, "test", self.test, ENDINGS)
            raise

    def _rows(self, shard: Path) -> tuple[list[str], list[Any]]:
        """Read ids and labels of a shard, but no audio; a label that is a number with a name becomes that name."""
        file = _opened(shard)
        names, called = file.schema_arrow.names, _class_names(file.schema_arrow, self.label)
        columns = [name for name in (self.id, self.audio, self.label) if name]
        missing = [name for name in columns if name not in names]
        if missing:
            raise DataError(
                f"{shard}: no column {missing[0]!r}; it has {', '.join(names)}. Say which: -s data.id=, "
                "-s data.audio=, -s data.label="
            )
        with _reading(shard):
            table = file.read(columns=[self.id or f"{self.audio}.path", self.label])
            labels = table.column(self.label).to_pylist()
            return _names(table, self.id), [_named(value, called) for value in labels] if called else labels

    def _columns(self, root: Path, shards: Sequence[Path]) -> tuple[dict[Any, int], tuple[str, ...]]:
        """Return the column of every label, and the names of the classes."""
        if _class_names(_opened(shards[0]).schema_arrow, self.label):
            # A split that was written on its own may number its classes differently.
            all_shards = dict.fromkeys((*shards, *self._everywhere(root)))
            lists = {_class_names(_opened(shard).schema_arrow, self.label) for shard in all_shards} - {()}
            names = lists.pop() if len(lists) == 1 else tuple(sorted({name for one in lists for name in one}))
            return {name: column for column, name in enumerate(names)}, names
        table = find_root(root, self.classes) / self.classes
        if table.is_file():
            ontology = read_ontology(table)
            by_name = {name: column for column, name in enumerate(ontology.classes)}
            return {**by_name, **ontology.columns}, ontology.classes
        labels = {
            label
            for shard in self._everywhere(root)
            for value in self._rows(shard)[1]
            for label in (value if isinstance(value, list) else [value])
            if isinstance(label, str | int)
        }
        classes = tuple(sorted(labels, key=str))
        return {label: column for column, label in enumerate(classes)}, tuple(map(str, classes))

    def _everywhere(self, root: Path) -> set[Path]:
        """Return the shards of all existing splits."""
        return {shard for split in NAMES for shard in self._if_any(root, split)}

    def _if_any(self, root: Path, split: str) -> list[Path]:
        try:
            return self._shards(root, split)
        except SplitNotFoundError:
            return []


class ParquetSet(ShardSet):
    """Clips that are rows of Parquet shards."""

    def __init__(self, *arguments: Any, audio: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._audio = audio
        self._file = OpenFiles(_opened)
        self._group = functools.lru_cache(maxsize=2)(self._read_group)

    def source(self, index: int) -> bytes | Path:
        """Return the clip's encoded bytes, or the file that the shard names instead.

        Raises AudioError where the row has neither, or the file does not exist.
        """
        row = self.entries[index]
        with _reading(row.shard):
            metadata = self._file(row.shard).metadata
            group, within = 0, row.index
            while within >= metadata.row_group(group).num_rows:
                within -= metadata.row_group(group).num_rows
                group += 1
            value = self._group(row.shard, group)[within].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes):
            return content
        path = value.get("path") if isinstance(value, dict) else None
        if content is not None or not isinstance(path, str):
            raise AudioError(
                f"{self.name(index)}: {self._audio} is {value!r:.60}, neither encoded audio nor the path of a file"
            )
        found = _beside(row.shard, path, self.name(index))
        if not found.is_file():
            raise AudioError(f"{self.name(index)}: its audio is the file {found}, which does not exist")
        return found

    def files(self, indices: Sequence[int]) -> Iterator[tuple[str, Path]]:
        """Yield name and path of the clips' shards, and id and path of the files that rows name instead of audio."""
        shards = list(super().files(indices))
        yield from shards
        naming = {shard for _, shard in shards if self._names_files(shard)}
        for index in indices:
            if self.entries[index].shard in naming:
                with contextlib.suppress(AudioError):  # raised again when the clip is read
                    if isinstance(source := self.source(index), Path):
                        yield self.id(index), source

    def _names_files(self, shard: Path) -> bool:
        """Return whether any row of a shard lacks encoded audio, or may lack it, by the statistics in its metadata."""
        metadata = self._file(shard).metadata
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        chunks = (group.column(number) for group in groups for number in range(group.num_columns))
        bytes_ = f"{self._audio}.bytes"
        return any(c.path_in_schema == bytes_ and (not c.statistics or c.statistics.null_count) for c in chunks)

    def _read_group(self, shard: Path, group: int) -> Any:
        return self._file(shard).read_row_group(group, columns=[self._audio]).column(0)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_group"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._group = functools.lru_cache(maxsize=2)(self._read_group)


def _beside(shard: Path, path: str, name: str) -> Path:
    """Return the file that a shard names. Raises DataError where the path leads out of the shard's folder."""
    found = (shard.parent / path).resolve()
    if not found.is_relative_to(shard.parent.resolve()):
        raise DataError(
            f"{name}: its audio is a file elsewhere, {path!r}; put the audio into the shards, or move the file below "
            f"{shard.parent}"
        )
    return found


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet requires pyarrow; install it: pip install 'fastast[data]'") from error
    with _reading(path):
        return pyarrow.parquet.ParquetFile(path)


def _reading(shard: Path) -> AbstractContextManager[None]:
    import pyarrow

    return reading(shard, "Parquet", "Arrow", (pyarrow.ArrowException, OSError, UnicodeDecodeError))


def _names(table: Any, column: str) -> list[str]:
    """Return the id of every row: from a column, or the file name in the audio column, empty where there is none."""
    values = table.column(column or 0).to_pylist()
    if column:
        return [str(value) for value in values]
    paths = (value["path"] if isinstance(value, dict) else value for value in values)
    return [str(path or "").rpartition("/")[2] for path in paths]


def _named(value: Any, names: Sequence[str]) -> Any:
    """Replace a label that is a number, or those of a list, by its name; one without a name stays, to be refused."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Return the class names that `datasets` wrote into a shard for labels that are numbers; empty where it did not."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        if isinstance(described, list):
            described = described[0]
        names = described.get("names") or described.get("feature", {}).get("names") or ()
        return tuple(map(str, names))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        return ()
