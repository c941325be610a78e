"""The data sets that recipes can name."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from fastast.data.training_set import DataError, TrainingSet
from fastast.names import unknown_name

DATASETS = {
    "audioset": "fastast.data.audioset:AudioSet",
    "esc50": "fastast.data.esc50:ESC50",
    "soundscapes": "fastast.data.soundscapes_training:Soundscapes",
    "speech_commands": "fastast.data.speech_commands:SpeechCommands",
}
"""Name -> the frozen dataclass of its options, with a method `split`."""


class DataOptions(Protocol):
    """The options of a data set."""

    def split(self, name: str) -> TrainingSet:
        """Return a split: train, val or test."""


def options_type(name: str) -> type[DataOptions]:
    """Return the dataclass of a data set's options. Raises DataError for an unknown name."""
    if name not in DATASETS:
        raise DataError(unknown_name("data set", name, DATASETS))
    module, _, attribute = DATASETS[name].partition(":")
    found: type[DataOptions] = getattr(import_module(module), attribute)
    return found
