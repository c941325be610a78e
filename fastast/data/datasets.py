"""The data sets that recipes and sweeps can name."""

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
"""Metadata of an option that a data set did not always have: at its default it is left out of what is asked, so that
the identities of recipes and sweeps from before stay."""


def asked(options: DataOptions) -> Mapping[str, Any]:
    """Return what of a data set's options decides which clips are heard: all but where they lie, and later defaults."""
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
"""Name -> the frozen dataclass of its options, with a method `split`."""


def get_data_set(name: str) -> type[DataOptions]:
    """Return the options of the data set called `name`.

    Raises DataError with the nearest known name, or where what is registered is no frozen dataclass with a `split`.
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

    Raises DataError where the data set does, and where what it returns lacks something that a split must have.
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
