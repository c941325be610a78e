"""The registry of data sets that recipes and sweeps can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, get_args

from fastast.data.training_set import DataError, TrainingSet
from fastast.metrics import Task
from fastast.names import unknown_name
from fastast.registry import Registry


class DataOptions(Protocol):
    """The options of a data set."""

    def split(self, name: str) -> TrainingSet:
        """Return a split: train, val or test."""


LATER = {"later": True}
"""Metadata of an option that was added later: at its default it is not part of a run's identity, so that older recipes
and sweeps keep theirs."""


def only_in(*splits: str) -> Mapping[str, Any]:
    """Return the metadata of an option that changes only the clips of these splits."""
    return {"splits": splits}


def asked(options: DataOptions) -> Mapping[str, Any]:
    """Return the options that identify the clips and how they are read: all but `root` and `LATER` ones at defaults."""
    values = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if field.name != "root" and not (field.metadata.get("later") and value == field.default):
            values[field.name] = value
    return {**values, **getattr(options, "holds", {})}


DATASETS: Registry[type[DataOptions]] = Registry(
    "data set",
    {
        "ast_lists": "fastast.data.layouts.ast_lists:ASTLists",
        "audio_folder": "fastast.data.layouts.audio_folder:AudioFolder",
        "audioset": "fastast.data.layouts.audioset:AudioSet",
        "cache": "fastast.data.caching.cache:Cache",
        "esc50": "fastast.data.layouts.esc50:ESC50",
        "fsd50k": "fastast.data.layouts.fsd50k:FSD50K",
        "hdf5": "fastast.data.layouts.hdf5:HDF5",
        "parquet": "fastast.data.layouts.parquet:Parquet",
        "soundscapes": "fastast.data.soundscapes.training:Soundscapes",
        "speech_commands": "fastast.data.layouts.speech_commands:SpeechCommands",
        "table": "fastast.data.layouts.table:Table",
    },
    group="fastast.data_sets",
    error=DataError,
)
"""Name of a data set -> the frozen dataclass of its options, with a method `split`."""


def get_data_set(name: str) -> type[DataOptions]:
    """Return the class of options of the data set called `name`.

    Raises DataError for an unknown name, with the nearest known one, and where the registered value is not a frozen
    dataclass with a method `split`.
    """
    kind = DATASETS.get(name)
    right = isinstance(kind, type) and dataclasses.is_dataclass(kind) and callable(getattr(kind, "split", None))
    if not right or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        what = getattr(kind, "__qualname__", repr(kind))
        raise DataError(
            f"data set {name}: what is registered, {what}, must be a dataclass(frozen=True, kw_only=True) with "
            "a method split(name)"
        )
    return kind


def open_split(name: str, options: DataOptions, split: str) -> TrainingSet:
    """Return a split of the data set called `name`.

    Raises DataError where the data set does, and where the returned object lacks a member of `TrainingSet` or has an
    unknown task.
    """
    data = options.split(split)
    wanted = [one for one in vars(TrainingSet) if not one.startswith("_") or one == "__len__"]
    if missing := [one for one in wanted if not hasattr(data, one)]:
        raise DataError(
            f"data set {name}: its split {split} is a {type(data).__name__}, which lacks {', '.join(missing)}; see "
            "fastast.data.training_set.TrainingSet"
        )
    if data.task not in get_args(Task):
        raise DataError(f"data set {name}: {unknown_name('task', data.task, get_args(Task))}")
    return data
