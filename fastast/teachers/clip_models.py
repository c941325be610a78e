"""Load trained networks of any kind that take clips, and find the length of these clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastast.checkpoints import load_model
from fastast.frontend import Normalisation, TakesClips
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import Teacher, load_teacher
from fastast.teachers.files import is_teacher
from fastast.zoo import trained_path


class HasGeometry(Protocol):
    """A transformer, in PyTorch or exported."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the model."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """Shape of the input of a network without a geometry."""

    num_frames: int
    """Number of frames."""
    num_mel_bins: int = 128
    """Number of mel bins."""


def open_network(
    name: str,
    asked: Mapping[str, object],
    *,
    geometry: Mapping[str, object] | None = None,
    normalisation: Normalisation | None = None,
) -> AudioSpectrogramTransformer | Teacher:
    """Load a zoo model with weights, a checkpoint or a trained teacher, in evaluation mode.

    `asked`: options, by name, that only a transformer has. `geometry`, `normalisation`: as for `fastast.load_model`.
    Raises ValueError if such an option is set for a teacher, or the name is unknown; CheckpointError for a bad file.
    """
    path = trained_path(name)
    if not is_teacher(path):
        return load_model(path, geometry=geometry, normalisation=normalisation).eval()
    teacher = load_teacher(path)
    for what, value in asked.items():
        if value:
            raise ValueError(f"{name}: {teacher.name} takes no {what}, only a transformer does; leave it out")
    if normalisation is not None and teacher.normalisation not in (None, normalisation):
        raise ValueError(f"{name}: the file has its own normalisation, {teacher.normalisation}; leave it out")
    teacher.normalisation = teacher.normalisation or normalisation
    return teacher


def class_count(network: HasGeometry | Teacher) -> int:
    """Return the number of a network's outputs."""
    return network.num_classes if isinstance(network, Teacher) else network.geometry.num_classes


def clip_shape(name: str, network: HasGeometry | Teacher, said: Mapping[str, object]) -> TakesClips:
    """Return the shape of a network's clips; for a network that takes any number of frames, `said` may give it.

    Raises ValueError if the number of frames is unknown, and for other fields in `said`.
    """
    if not isinstance(network, Teacher):
        return network.geometry
    if other := sorted(set(said) - {"num_frames"}):
        raise ValueError(f"{name}: {network.name} has no {other[0]}; the only geometry field it takes is num_frames")
    frames = said.get("num_frames", network.num_frames)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ValueError(
            f"{name}: the file does not say how long the clips were that it was trained on; give their length in "
            "frames of 10 ms, for example --geometry num_frames=512"
        )
    return ClipShape(num_frames=frames, num_mel_bins=network.num_mel_bins or ClipShape.num_mel_bins)
