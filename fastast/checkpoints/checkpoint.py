"""Checkpoints in memory, and the errors of reading one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.scores import Loss


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or contradicts itself; the message names the file and the key."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint does not exist."""


class CheckpointWarning(UserWarning):
    """Something was assumed in reading a checkpoint that does not say it."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights under FastAST's keys, and what else the file says about them."""

    state: Mapping[str, Tensor]
    """Tensors by the keys of `AudioSpectrogramTransformer.state_dict()`, on the CPU, in the stored type."""
    geometry: Geometry
    """Shape of the model, read from the file or inferred from its tensors."""
    labels: tuple[str, ...] | None = None
    """Names of the classes in the order of the outputs, where known."""
    normalisation: Normalisation | None = None
    """Normalisation of the filterbank that the weights were trained with, where known."""
    loss: Loss | None = None
    """Loss that the weights were trained with, where known; it decides how logits become scores."""
    training: Mapping[str, Any] | None = None
    """Notes on how the weights were made (own files only)."""
    format: str
    """Format of the file: `original`, `huggingface` or `fastast`."""
    sha256: str
    """SHA-256 of the file with the weights; for several shards, of their bytes in the order of their names."""
    path: Path
    """The file or folder."""

    def __post_init__(self) -> None:
        if self.labels is not None:
            check_labels(self.labels, self.geometry.num_classes, self.path)


def check_labels(labels: tuple[str, ...], num_classes: int, path: Path) -> None:
    """Raise CheckpointError unless there is one label per class and every label is a string."""
    if len(labels) != num_classes:
        raise CheckpointError(
            f"{path}: {len(labels)} labels for a head of {num_classes} classes; give one label per class, in the order "
            "of the outputs"
        )
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise CheckpointError(f"{path}: label {index} is {label!r}, not text")
