"""The features of a sweep's clips on disk, and what is known of the clips; light enough for both sides of a process.

Shapes: `n` clips, `c` classes, `f` frames, `m` mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measure.loading import Preparation
from fastast.metrics import Task


@dataclass(frozen=True, kw_only=True)
class ClipNotes:
    """What is known of clips once they have been read; kept beside their features."""

    sha256: str
    """Of the file of features: one that was cut off or overwritten is not believed."""
    clips_sha256: str
    """Of every clip's samples and labels."""
    matches_reference: bool | None
    """Whether the clips are bit for bit those of the reference machine; None where no hash is committed."""
    skipped: dict[str, str]
    """Clips that could not be read, by id, with the reason; they are left out."""
    cut: int
    """Clips longer than the model's input, of which the end is not heard."""
    frames: list[int]
    """Of every clip that could be read, before it was padded or cut."""
    preparation: Preparation
    """What all of it took."""


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """The normalised filterbank of clips, on disk, with what belongs to it."""

    path: Path
    """(n, f, m) float32 in NumPy's format."""
    ids: tuple[str, ...]
    """Id of every clip that could be read."""
    labels: NDArray[np.uint8]
    """(n, c) of 0 and 1."""
    classes: tuple[str, ...]
    """Names of the classes."""
    task: Task = "multi_label"
    """How the data set is scored."""
    clips_sha256: str
    """Hash of the clips."""
    matches_reference: bool | None
    """As in `ClipNotes`."""
    skipped: dict[str, str] = field(default_factory=dict)
    """As in `ClipNotes`."""
    cut: int = 0
    """As in `ClipNotes`."""
    frames: tuple[int, ...] = ()
    """As in `ClipNotes`, (n,)."""
    reading: dict[str, str] = field(default_factory=dict)
    """How the files were read: channels, resampler, decoder; empty of clips that are mixed."""
    preparation: Preparation | None = None
    """What making them took; None where nobody timed it."""
    reused: bool = False
    """Whether an earlier run had made them."""

    def open(self) -> NDArray[np.float32]:
        """Return the features (n, f, m) without reading them into memory."""
        return np.load(self.path, mmap_mode="r")
