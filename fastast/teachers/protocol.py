"""The interface of all teachers.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastast.frontend import Normalisation
from fastast.scores import Loss


class TeacherError(ValueError):
    """A teacher cannot be built, loaded or used here; the message says which one and why."""


class Teacher(nn.Module):
    """A network from a normalised filterbank (b, f, m) to logits (b, c), with what is needed to rebuild it."""

    name: str
    """Name of the network for `create_teacher`."""
    options: dict[str, Any]
    """What else is needed to rebuild the same network without its weights; JSON."""
    num_classes: int
    """Number of outputs, c."""
    labels: tuple[str, ...] | None
    """Names of the classes, where known."""
    normalisation: Normalisation | None
    """Normalisation of the filterbank that it was trained with, where known."""
    loss: Loss | None
    """Loss that it was trained with, where known."""
    num_frames: int | None
    """Number of frames of the clips that it was trained on, where known; a CNN takes other numbers, too."""
    num_mel_bins: int | None
    """Number of mel bins of the filterbanks that it takes; None for a CNN, which takes any."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise TeacherError(f"teacher: num_classes is {num_classes!r}; it must be a whole number of at least 1")
        self.name = ""
        self.options = {}
        self.num_classes = num_classes
        self.labels = None
        self.normalisation = None
        self.loss = None
        self.num_frames = None
        self.num_mel_bins = None

    def forward(self, fbank: Tensor) -> Tensor:
        """Map a normalised filterbank (b, f, m) to logits (b, c)."""
        raise NotImplementedError


def check_fbank(name: str, fbank: Tensor, *, num_mel_bins: int | None = None, min_frames: int = 1) -> None:
    """Raise TeacherError unless a filterbank has the shape that a teacher takes."""
    if fbank.ndim != 3 or fbank.shape[1] < min_frames or (num_mel_bins is not None and fbank.shape[2] != num_mel_bins):
        bins = "mel bins" if num_mel_bins is None else f"{num_mel_bins} mel bins"
        raise TeacherError(
            f"{name}: the filterbank has shape {tuple(fbank.shape)}; this teacher takes (batch, at least {min_frames} "
            f"frames, {bins})"
        )


def other_classes(source: str, has: int, wanted: int) -> str:
    """Return the message for a teacher whose classes are not the student's."""
    return (
        f"{source}: this teacher has {has} classes, but the student has {wanted}; a teacher must know the student's "
        f"classes. Train one on them: create_teacher(name, {wanted}, checkpoint=..., new_head=True) keeps all weights "
        "except the last layer's"
    )
