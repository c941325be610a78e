"""The features of a sweep's clips on disk, and facts about the clips; light enough to import on both sides of a cell.

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
    """Facts about clips that are known once they have been read; stored with their features."""

    sha256: str
    """Hash of the file of features, which detects truncated or overwritten files."""
    clips_sha256: str
    """Hash of every clip's samples and labels."""
    matches_reference: bool | None
    """Whether the clips equal those of the reference machine bit for bit; None if no reference hash is committed."""
    skipped: dict[str, str]
    """Clips left out because they could not be read: by id, the reason."""
    cut: int
    """Clips longer than the model's input, which lose their end."""
    frames: list[int]
    """Frames of every clip that could be read, before padding or cutting."""
    preparation: Preparation
    """Time that reading and computing took."""


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """The normalised filterbanks of clips on disk, with ids, labels and facts."""

    path: Path
    """File of the features, (n, f, m) float32 in NumPy's format."""
    ids: tuple[str, ...]
    """Id of every clip that could be read."""
    labels: NDArray[np.uint8]
    """Labels (n, c), 0 or 1."""
    classes: tuple[str, ...]
    """Names of the classes."""
    task: Task = "multi_label"
    """Whether a clip has one label or several, which decides the metrics."""
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
    """How files were read: channels, resampler, decoder; empty for clips that are mixed."""
    preparation: Preparation | None = None
    """Time that computing the features took; None if it was not timed."""
    reused: bool = False
    """Whether an earlier run had computed them."""

    def open(self) -> NDArray[np.float32]:
        """Return the features (n, f, m) without reading them into memory."""
        return np.load(self.path, mmap_mode="r")
