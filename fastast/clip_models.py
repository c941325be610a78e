"""Trained networks that hear clips, whatever their kind, and how long these are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastast.checkpoints import load_model
from fastast.exporting import ExportedModel
from fastast.frontend import Normalisation
from fastast.model import AudioSpectrogramTransformer
from fastast.teachers import Teacher, load_teacher
from fastast.teachers.files import is_teacher
from fastast.zoo import trained_path


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """What a network takes and gives."""

    num_frames: int
    num_mel_bins: int
    num_classes: int


def open_network(
    name: str,
    asked: Mapping[str, object],
    *,
    geometry: Mapping[str, object] | None = None,
    normalisation: Normalisation | None = None,
) -> AudioSpectrogramTransformer | Teacher:
    """Load a name of the zoo with weights, a checkpoint or a trained teacher, in evaluation mode.

    `asked`: by its name, what only a transformer can do. `geometry`, `normalisation`: as for `fastast.load_model`.
    Raises ValueError where a teacher is asked for it, or the name is unknown; CheckpointError for a bad file.
    """
    path = trained_path(name)
    if not is_teacher(path):
        return load_model(path, geometry=geometry, normalisation=normalisation).eval()
    teacher = load_teacher(path)
    for what, value in asked.items():
        if value:
            raise ValueError(f"{name}: {teacher.name} takes no {what}, only a transformer does; leave it out")
    if normalisation is not None and teacher.normalisation not in (None, normalisation):
        raise ValueError(f"{name}: its file says its normalisation, {teacher.normalisation}; leave it out")
    teacher.normalisation = teacher.normalisation or normalisation
    return teacher


def clip_shape(
    name: str, network: AudioSpectrogramTransformer | ExportedModel | Teacher, said: Mapping[str, object]
) -> ClipShape:
    """Return the shape of a network's clips; `said` may give the frames of one that takes any number.

    Raises ValueError where nothing says them.
    """
    if not isinstance(network, Teacher):
        own = network.geometry
        return ClipShape(num_frames=own.num_frames, num_mel_bins=own.num_mel_bins, num_classes=own.num_classes)
    if other := sorted(set(said) - {"num_frames"}):
        raise ValueError(f"{name}: {network.name} has no {other[0]}; of a geometry it takes num_frames")
    frames, bins = said.get("num_frames", network.num_frames), network.options.get("num_mel_bins", 128)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ValueError(
            f"{name}: its file does not say how long the clips were that it was trained on; say it, in frames of "
            "10 ms: --geometry num_frames=512"
        )
    return ClipShape(num_frames=frames, num_mel_bins=bins, num_classes=network.num_classes)
