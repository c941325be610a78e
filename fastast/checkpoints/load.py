"""Load checkpoints of every format, and the models in them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastast.checkpoints import huggingface
from fastast.checkpoints.checkpoint import Checkpoint, CheckpointError, CheckpointWarning
from fastast.checkpoints.files import check_values, read_tensors, sha256_of
from fastast.checkpoints.infer import build_geometry, check_fields, infer_geometry
from fastast.checkpoints.layouts import OWN, Layout, convert, recognise
from fastast.checkpoints.own import ENTRY, TEACHER, Header, read_header
from fastast.checkpoints.prefixes import without_wrappers
from fastast.frontend import AUDIOSET, Normalisation
from fastast.geometry import Geometry, with_stride

if TYPE_CHECKING:
    from fastast.model import AudioSpectrogramTransformer

ADAPTABLE = ("num_frames", "num_mel_bins", "fstride", "tstride")
"""Fields of Geometry that can be changed for trained weights: only position embeddings depend on them."""


def load_checkpoint(
    path: str | Path,
    *,
    geometry: Mapping[str, object] | None = None,
    labels: Sequence[str] | None = None,
    normalisation: Normalisation | None = None,
) -> Checkpoint:
    """Read a checkpoint of any known format, strictly and without running anything in it.

    path: an original AST file (.pth), a Hugging Face folder or its weights file, or one of FastAST's own files.
    geometry: fields of `Geometry` that the file does not say and that cannot be inferred, or that override what it
    says: `{"fstride": 12, "tstride": 10, "num_frames": 1024}`. labels, normalisation: used if the file has none, or in
    place of its own.

    Raises CheckpointError, naming file and key, for a file that is missing, cut off or not a checkpoint, and for
    tensors that are missing, superfluous, of the wrong shape or type, or not finite. Warns (CheckpointWarning) of
    prefixes that it removes, of a geometry that is not the only one to fit, and if it assumes AudioSet's normalisation
    because a file with 527 classes and 1,024 frames has none.
    """
    path = Path(path)
    files = huggingface.find_weights(path) if path.is_dir() else [path]
    if path.is_dir():
        tensors, metadata = huggingface.read_weights(path, files), dict[str, str]()
    else:
        tensors, metadata = read_tensors(path)
    if TEACHER in metadata:
        raise CheckpointError(
            f"{path}: this is a teacher's file, a network without tokens to merge; use it with `fastast predict`, "
            "`evaluate` and `ensemble`, and in the [distillation] of a recipe"
        )
    if ENTRY not in metadata:
        tensors = without_wrappers(path, tensors)
    layout = OWN if ENTRY in metadata else recognise(path, tensors)
    check_values(path, {key: value for key, value in tensors.items() if key not in layout.ignored})
    header = _describe(path, tensors, metadata, layout, geometry)
    normalisation = normalisation or header.normalisation
    if normalisation is None and _is_of_audioset(header.geometry):
        normalisation = AUDIOSET
        scale = f"mean {AUDIOSET.mean}, std {AUDIOSET.std}"
        text = f"{path}: 527 classes and 1,024 frames, but no normalisation: that of AudioSet is assumed ({scale})"
        warnings.warn(text, CheckpointWarning, stacklevel=2)
    return Checkpoint(
        state=convert(path, tensors, layout, header.geometry),
        geometry=header.geometry,
        labels=header.labels if labels is None else tuple(labels),
        normalisation=normalisation,
        loss=header.loss,
        training=header.training,
        format=layout.format,
        sha256=sha256_of(files),
        path=path,
    )


def load_model(
    path: str | Path,
    *,
    geometry: Mapping[str, object] | None = None,
    labels: Sequence[str] | None = None,
    normalisation: Normalisation | None = None,
    dtype: torch.dtype = torch.float32,
    drop_path_rate: float = 0.0,
    stride: int | None = None,
    **overrides: object,
) -> AudioSpectrogramTransformer:
    """Build the model of a checkpoint with everything that its file says, on the CPU and in training mode.

    `geometry`, `labels` and `normalisation` describe the file, as for `load_checkpoint`. `overrides` describe the model
    to build: `num_frames`, `num_mel_bins`, `fstride` and `tstride`, or `stride` for both, may differ from the file.
    Position embeddings are adapted: interpolated for another stride, by AST's rule for another length. Parameters are
    float32 unless `dtype` is given, whatever type the file stores.

    Raises CheckpointError as `load_checkpoint` does, and for an override that trained weights cannot follow.
    """
    from fastast.model import AudioSpectrogramTransformer
    from fastast.positions import positions_for

    checkpoint = load_checkpoint(path, geometry=geometry, labels=labels, normalisation=normalisation)
    target = _override(checkpoint, with_stride(stride, overrides))
    position = checkpoint.state["pos_embed"]
    wide = position.to(torch.promote_types(position.dtype, torch.float32))  # interpolate first, then round once
    fitted = {**checkpoint.state, "pos_embed": positions_for(wide, checkpoint.geometry, target)}
    state = {key: tensor.to(dtype) for key, tensor in fitted.items()}
    model = AudioSpectrogramTransformer(target, drop_path_rate=drop_path_rate).to(dtype)
    model.load_state_dict(state, strict=True)
    model.labels = checkpoint.labels
    model.normalisation = checkpoint.normalisation
    model.loss = checkpoint.loss
    return model


def _cut_ratio(geometry: Geometry, tensors: Mapping[str, Tensor]) -> float:
    """Return an own file's MLP ratio, from the tensors where they fit it: older files cut a fractional width off."""
    hidden = len(tensors["blocks.0.mlp.fc1.weight"]) if "blocks.0.mlp.fc1.weight" in tensors else 0
    cut = hidden == int(geometry.embed_dim * geometry.mlp_ratio)
    return hidden / geometry.embed_dim if cut else geometry.mlp_ratio


def _describe(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    layout: Layout,
    given: Mapping[str, object] | None,
) -> Header:
    """Find geometry, labels, normalisation and loss."""
    if ENTRY in metadata:
        header = read_header(path, metadata[ENTRY])
        known = {"mlp_ratio": _cut_ratio(header.geometry, tensors), **(given or {})}
        return dataclasses.replace(header, geometry=_replace(path, header.geometry, known))
    if layout is OWN:
        raise CheckpointError(
            f"{path}: FastAST's keys without FastAST's header (geometry, labels, normalisation); write the file with "
            "fastast.save_checkpoint"
        )
    folder = path if path.is_dir() else path.parent
    if layout.format == "huggingface" and (folder / "config.json").is_file():
        head = tensors.get("classifier.dense.weight")
        found, names = huggingface.read_config(folder / "config.json", 0 if head is None else len(head))
        found = _replace(path, found, given)
        normalisation = huggingface.read_preprocessor(folder / "preprocessor_config.json", found)
        loss = huggingface.read_loss(folder / "config.json")
        return Header(geometry=found, labels=names, normalisation=normalisation, training=None, loss=loss)
    found = infer_geometry(path, tensors, layout, given)
    return Header(geometry=found, labels=None, normalisation=None, training=None, loss=None)


def _is_of_audioset(geometry: Geometry) -> bool:
    """Return whether a model has the shape of the published ones for AudioSet, whose files lack a normalisation."""
    return (geometry.num_classes, geometry.num_frames, geometry.num_mel_bins) == (527, 1024, 128)


def _replace(path: Path, found: Geometry, given: Mapping[str, object] | None) -> Geometry:
    return build_geometry(path, dataclasses.asdict(found) | check_fields(path, given))


def _override(checkpoint: Checkpoint, overrides: Mapping[str, object]) -> Geometry:
    """Return the checkpoint's geometry with the overrides applied."""
    source = checkpoint.geometry
    for name, value in check_fields(checkpoint.path, overrides).items():
        if name not in ADAPTABLE and value != getattr(source, name):
            raise CheckpointError(
                f"{checkpoint.path}: the weights have {name} = {getattr(source, name)!r} and cannot become {value!r}; "
                f"only {', '.join(ADAPTABLE)} can differ. For other classes, replace model.head.linear after loading"
            )
    return build_geometry(checkpoint.path, dataclasses.asdict(source) | dict(overrides))
