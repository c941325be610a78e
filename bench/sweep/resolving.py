"""Find the model and the clips that a sweep names, and match them by their classes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.sweep.cells import ModelRef
from bench.sweep.complaints import ConfigError
from bench.sweep.config import SweepConfig
from bench.sweep.data import DataRef, resolve_data
from bench.sweep.lengths import clip_frames
from fastast.geometry import Geometry
from fastast.names import hub_hint

if TYPE_CHECKING:
    from fastast.checkpoints import Checkpoint


def resolve_model(config: SweepConfig, shown: str) -> tuple[ModelRef, Geometry, Checkpoint | None]:
    """Return a sweep's model, its geometry, and its checkpoint, which is None for random weights.

    Raises ConfigError for a name that is neither a checkpoint nor a model, and for a checkpoint that cannot be loaded.
    """
    from fastast.checkpoints import load_checkpoint
    from fastast.commands.describe import model_geometry
    from fastast.zoo import ARCHITECTURES, EMBEDDED, model_names

    name, frames = config.model.name, config.model.frames
    path = EMBEDDED.get(name, Path(name))
    if name not in ARCHITECTURES and not path.exists():
        raise ConfigError(
            [
                f"{shown}: model.name: '{name}' is neither a checkpoint that exists nor a model; "
                f"allowed: a path, {', '.join(model_names())}{hub_hint(name)}"
            ]
        )
    said = _said_of_file(config, shown)
    try:
        checkpoint = None if name in ARCHITECTURES else load_checkpoint(path, **said)
        geometry = model_geometry(name, said["geometry"]) if checkpoint is None else checkpoint.geometry
        if frames is not None:
            geometry = replace(geometry, num_frames=frames)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{shown}: model.name: {error}"]) from None
    fields = tuple(sorted(said["geometry"].items()))
    if name in ARCHITECTURES:
        return ModelRef(name=name, path=None, sha256=None, frames=frames, geometry=fields), geometry, None
    digest = hash_checkpoint(path)
    own = None if name in EMBEDDED else path
    shown_name = name if own is None else path.name
    ref = ModelRef(
        name=shown_name,
        path=own,
        sha256=digest,
        frames=frames,
        normalisation=said["normalisation"],
        geometry=fields,
    )
    return ref, geometry, checkpoint


def _said_of_file(config: SweepConfig, shown: str) -> dict[str, Any]:
    """Return what the sweep says about its checkpoint or a shape without weights, as `load_checkpoint` takes it."""
    from fastast.frontend import Normalisation
    from fastast.zoo import ARCHITECTURES, EMBEDDED

    scale, geometry = config.model.normalisation, config.model.geometry
    has_own = {"normalisation": (*ARCHITECTURES, *EMBEDDED), "geometry": tuple(EMBEDDED)}
    for key, given in (("normalisation", scale), ("geometry", geometry)):
        if given and config.model.name in has_own[key]:
            raise ConfigError(
                [f"{shown}: model.{key}: '{config.model.name}' is not one of your own checkpoints; leave it out"]
            )
    try:
        return {"normalisation": scale and Normalisation(mean=scale[0], std=scale[1]), "geometry": geometry}
    except ValueError as error:
        raise ConfigError([f"{shown}: model.{error}"]) from None


def hash_checkpoint(path: Path) -> str:
    """Return the SHA-256 of a checkpoint: of its file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    for file_path in sorted(path.rglob("*")):
        if file_path.is_file():
            with file_path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{file_path.relative_to(path).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def resolve_calibration(config: SweepConfig, shown: str) -> DataRef:
    """Return the clips that int8 is calibrated on, from the training split of the sweep's data."""
    from fastast.exporting.calibration import CALIBRATION_CLIPS

    try:
        every = resolve_data(config.data.model_copy(update={"split": "train", "clips": None}))
        return resolve_data(
            config.data.model_copy(update={"split": "train", "clips": min(CALIBRATION_CLIPS, every.clips)})
        )
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix("data: ")
        raise ConfigError([f"{shown}: data: int8 is calibrated on clips of the training split: {reason}"]) from None


def resolve_quality(
    config: SweepConfig, model: ModelRef, geometry: Geometry, checkpoint: Checkpoint | None, shown: str
) -> tuple[ModelRef, DataRef]:
    """Return the model with its classes matched to the data's, and the clips of a sweep.

    Raises ConfigError where quality cannot be measured: random weights, weights that do not say how their filterbank is
    normalised, missing data, other classes, or soundscapes longer than the model's input.
    """
    if checkpoint is None:
        raise ConfigError(
            [
                f"{shown}: kinds: the weights of '{model.name}' are random, so that its quality means nothing; "
                "leave 'quality' out, or give a trained model"
            ]
        )
    if checkpoint.normalisation is None:
        raise ConfigError(
            [
                f"{shown}: model.name: {config.model.name}: the file does not say how the filterbank was normalised "
                "(mean and deviation); add model.normalisation = [mean, std], or leave 'quality' out"
            ]
        )
    try:
        data = resolve_data(config.data)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{shown}: data: {str(error).removeprefix('data: ')}"]) from None
    frames = clip_frames(data) or 0
    if frames > geometry.num_frames:
        seconds = getattr(data.options, "seconds")  # noqa: B009 - of soundscapes only
        raise ConfigError(
            [
                f"{shown}: data.seconds: clips of {seconds:g} s have {frames} frames, the model takes "
                f"{geometry.num_frames}; give at most {(geometry.num_frames * 10 + 15) / 1000:g} s, or model.frames"
            ]
        )
    return _match_model(config, model, checkpoint, data, shown), data


def _match_model(config: SweepConfig, model: ModelRef, checkpoint: Checkpoint, data: DataRef, shown: str) -> ModelRef:
    """Return the model with its outputs matched to the data's classes by name."""
    from fastast.classes import AS_DATA, is_same_order, match_classes, read_names

    stated = config.model.labels
    try:
        columns = match_classes(
            config.model.name,
            checkpoint.labels,
            checkpoint.geometry.num_classes,
            data.classes,
            stated=stated,
            option="model.labels",
        )
        labels = data.classes if stated == AS_DATA else read_names(Path(stated)) if stated else None
    except ValueError as error:
        raise ConfigError([f"{shown}: model: {error}"]) from None
    return replace(
        model,
        labels=labels,
        activation=config.model.activation,
        columns=None if is_same_order(columns) else columns,
    )
