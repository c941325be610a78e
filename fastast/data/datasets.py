"""The data sets that recipes and sweeps can name."""

from __future__ import annotations

from typing import Protocol

from fastast.data.training_set import DataError, TrainingSet
from fastast.registry import Registry


class DataOptions(Protocol):
    """The options of a data set."""

    def split(self, name: str) -> TrainingSet:
        """Return a split: train, val or test."""


DATASETS: Registry[type[DataOptions]] = Registry(
    "data set",
    {
        "audioset": "fastast.data.audioset:AudioSet",
        "esc50": "fastast.data.esc50:ESC50",
        "soundscapes": "fastast.data.soundscapes_training:Soundscapes",
        "speech_commands": "fastast.data.speech_commands:SpeechCommands",
    },
    group="fastast.data_sets",
    error=DataError,
)
"""Name -> the frozen dataclass of its options, with a method `split`."""
