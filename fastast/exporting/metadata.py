"""Metadata of an exported file: enough to use it without FastAST, and to know where it comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from fastast.checkpoints.checkpoint import CheckpointError, check_labels
from fastast.checkpoints.infer import build_geometry
from fastast.exporting.errors import ExportError
from fastast.exporting.graph import BATCH, INPUT, OUTPUT
from fastast.frontend import Normalisation
from fastast.frontend.filterbank import SAMPLE_RATE
from fastast.geometry import Geometry
from fastast.scores import Loss, activation_of, known_loss

if TYPE_CHECKING:
    from torch import nn

ENTRY = "fastast"
"""Name of the entry in a file's metadata; its value is JSON."""
VERSION = 1
"""Version of the entry's format."""
Number = Literal["float32", "int8"]
"""Type in which the blocks' products are computed."""
FILTERBANK = (
    "log-mel filterbank of Kaldi (htk-compat, dither 0): Hann windows of 25 ms every 10 ms, from 20 Hz on, samples in "
    "[-1, 1]; fastast.fbank computes it"
)
"""Description of the input, for readers of the metadata."""


@dataclass(frozen=True, kw_only=True)
class ExportMetadata:
    """The metadata of an exported file."""

    fastast: str
    """Version of FastAST that exported the file."""
    source: str | None
    """Name of the model, or file name of the checkpoint; None for a model in memory."""
    checkpoint_sha256: str | None
    """SHA-256 of the checkpoint; None for a model in memory."""
    weights_sha256: str
    """SHA-256 of the source model's tensors; see `hash_weights`."""
    geometry: Geometry
    """Shape of the source model: input, blocks and classes."""
    labels: tuple[str, ...] | None
    """Names of the classes, where known."""
    loss: Loss | None
    """Loss that the source was trained with, where known; it decides how logits become scores."""
    normalisation: Normalisation
    """Normalisation of the filterbank."""
    reduction: Mapping[str, Any] | None
    """The reduction built into the file, as plain values; None if it is unmerged."""
    reduction_name: str
    """The reduction in one line; `unmerged` if there is none."""
    tokens_per_block: tuple[int, ...]
    """Number of tokens that leaves each block."""
    dtype: Number
    """Type of the blocks' products; everything else is float32."""
    calibration_sha256: str | None
    """SHA-256 of the filterbanks that int8 was calibrated on; None for float32."""

    def to_json(self) -> str:
        """Return the text of the entry: the fields, and what a reader without FastAST needs to know."""
        shape = [BATCH, self.geometry.num_frames, self.geometry.num_mel_bins]
        told = {
            "version": VERSION,
            "input": {
                "name": INPUT,
                "shape": shape,
                "sample_rate": SAMPLE_RATE,
                "what": FILTERBANK,
                "then": f"zeros at the end, or the end cut off, to {self.geometry.num_frames} frames; "
                "(x - mean) / (2 * std)",
            },
            "output": {"name": OUTPUT, "shape": [BATCH, self.geometry.num_classes]},
            "activation": activation_of(self.loss),
        }
        return json.dumps(told | dataclasses.asdict(self), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, path: Path, text: str) -> ExportMetadata:
        """Read the entry of the file at `path`.

        Raises ExportError for a newer version or anything out of place, CheckpointError for an impossible geometry or
        labels that do not fit.
        """
        where = f"{path}: metadata {ENTRY!r}"
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ExportError(f"{where} is not JSON ({error}); export the model again") from error
        if not isinstance(found, dict) or not isinstance(found.get("version"), int):
            raise ExportError(f"{where} has no integer 'version'; the file was not exported by FastAST")
        if found["version"] > VERSION:
            raise ExportError(
                f"{where} has version {found['version']}; this FastAST reads versions up to {VERSION}. Update FastAST"
            )
        missing = [field.name for field in dataclasses.fields(cls) if field.name not in found]
        if missing:
            raise ExportError(f"{where} lacks the key {missing[0]!r}; export the model again")
        own = {field.name: found[field.name] for field in dataclasses.fields(cls)}
        try:
            own["geometry"] = build_geometry(path, own["geometry"])
            own["normalisation"] = Normalisation(**own["normalisation"])
            own["loss"] = known_loss(own["loss"])
            own["labels"] = None if own["labels"] is None else tuple(own["labels"])
            if own["labels"] is not None:
                check_labels(own["labels"], own["geometry"].num_classes, path)
            own["tokens_per_block"] = tuple(own["tokens_per_block"])
        except CheckpointError:
            raise
        except (TypeError, ValueError, KeyError) as error:
            raise ExportError(f"{where}: {error}; export the model again") from error
        return cls(**own)


def hash_weights(model: nn.Module) -> str:
    """Return the SHA-256 of a model's tensors, sorted by name: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
