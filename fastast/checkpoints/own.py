"""FastAST's own files: safetensors under FastAST's keys, with one header entry, `fastast`, which is JSON.

{"version": 1, "geometry": {every field}, "labels": [...] or null,
 "normalisation": {"mean": ..., "std": ...} or null, "training": {...} or null, "loss": "bce" or "ce"}

The last key is present if the loss is known; in older files without it, the training notes may state the loss.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from fastast.checkpoints.checkpoint import Checkpoint, CheckpointError, check_labels
from fastast.checkpoints.files import check_values
from fastast.checkpoints.infer import build_geometry
from fastast.checkpoints.layouts import OWN, convert
from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.scores import Loss, known_loss, loss_in_notes
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from fastast.model import AudioSpectrogramTransformer

ENTRY = "fastast"
"""Name of the header entry."""
TEACHER = "fastast_teacher"
"""Name of the header entry of another kind of network, which `fastast.teachers` reads."""
VERSION = 1
"""Version of the header entry's format."""
_KEYS = ("version", "geometry", "labels", "normalisation", "training")
"""Keys that the header entry must have."""


def save_checkpoint(
    path: str | Path,
    weights: AudioSpectrogramTransformer | Checkpoint | Mapping[str, Tensor],
    *,
    geometry: Geometry | None = None,
    labels: Sequence[str] | None = None,
    normalisation: Normalisation | None = None,
    loss: Loss | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write weights in FastAST's own format and return the path.

    `weights` is a model, a Checkpoint, or a state dict with FastAST's keys; a model or Checkpoint brings its geometry,
    labels, normalisation and loss, which the arguments override. Tensors keep their type unless `dtype` is given.
    `training` is any JSON object. The file appears whole or not at all, and the same weights give the same bytes.

    Raises CheckpointError if the weights are not exactly those of the geometry or not finite, the notes are not JSON,
    or the loss is unknown; then nothing is written.
    """
    path = Path(path)
    if isinstance(weights, Checkpoint):
        state: Mapping[str, Tensor] = weights.state
        training = weights.training if training is None else training
    elif isinstance(weights, Mapping):
        state = weights
    else:
        state = weights.state_dict()
    if not isinstance(weights, Mapping):
        geometry = geometry or weights.geometry
        labels = weights.labels if labels is None else labels
        normalisation = normalisation or weights.normalisation
        loss = loss or weights.loss
    if geometry is None:
        raise CheckpointError(f"{path}: a state dict does not say its geometry; pass geometry=")
    state = convert(path, state, OWN, geometry)
    if dtype is not None:
        state = {key: tensor.to(dtype) for key, tensor in state.items()}
    check_values(path, state)
    if labels is not None:
        check_labels(tuple(labels), geometry.num_classes, path)
    header = {
        "version": VERSION,
        "geometry": dataclasses.asdict(geometry),
        "labels": None if labels is None else list(labels),
        "normalisation": None if normalisation is None else dataclasses.asdict(normalisation),
        "training": None if training is None else dict(training),
    }
    if loss is not None:
        header["loss"] = _loss(str(path), loss)
    try:
        entry = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the training notes are not JSON ({error})") from error
    whole = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    write_whole(path, save(whole, {ENTRY: entry}))
    return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """Content of the header entry of an own file."""

    geometry: Geometry
    """Shape of the model."""
    labels: tuple[str, ...] | None
    """Names of the classes, where known."""
    normalisation: Normalisation | None
    """Normalisation of the filterbank, where known."""
    training: Mapping[str, Any] | None
    """Notes on how the weights were made, if any."""
    loss: Loss | None
    """Loss that the weights were trained with, where known."""


def read_header(path: Path, entry: str) -> Header:
    """Read the header entry of an own file. Raises CheckpointError for a newer version or anything out of place."""
    where = f"{path}: header {ENTRY!r}"
    try:
        header = json.loads(entry)
    except ValueError as error:
        raise CheckpointError(
            f"{where} is not JSON ({error}); the file is damaged or was not made by FastAST"
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise CheckpointError(f"{where} has no integer 'version'; the file was not made by FastAST")
    if header["version"] > VERSION:
        raise CheckpointError(
            f"{where} has version {header['version']}; this FastAST reads up to {VERSION}. Update FastAST"
        )
    for key in _KEYS:
        if key not in header:
            raise CheckpointError(f"{where} lacks the key {key!r}; it must have {', '.join(_KEYS)}")
    geometry, labels, training = header["geometry"], header["labels"], header["training"]
    names = {field.name for field in dataclasses.fields(Geometry)}
    if not isinstance(geometry, dict) or set(geometry) != names:
        odd = sorted(names ^ set(geometry))[0] if isinstance(geometry, dict) else "geometry"
        raise CheckpointError(f"{where}: key 'geometry' must have exactly the fields of Geometry; look at {odd!r}")
    if labels is not None and not isinstance(labels, list):
        raise CheckpointError(f"{where}: key 'labels' must be a list of names or null")
    if training is not None and not isinstance(training, dict):
        raise CheckpointError(f"{where}: key 'training' must be an object or null")
    return Header(
        geometry=build_geometry(path, geometry),
        labels=None if labels is None else tuple(labels),
        normalisation=_normalisation(where, header["normalisation"]),
        training=training,
        loss=_loss(where, header.get("loss", loss_in_notes(training))),
    )


def _loss(where: str, value: object) -> Loss | None:
    try:
        return known_loss(value)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _normalisation(where: str, value: object) -> Normalisation | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"mean", "std"}:
        raise CheckpointError(f"{where}: key 'normalisation' must have 'mean' and 'std', or be null")
    try:
        return Normalisation(**value)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
