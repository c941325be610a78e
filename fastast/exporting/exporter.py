"""`export`: write a model, merged or not, to a file, and keep the file only if its logits agree with PyTorch's.

Shapes: `k` clips, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

import fastast
from fastast.checkpoints import load_checkpoint, load_model
from fastast.exporting.agreement import Agreement, check_agreement, real_clips
from fastast.exporting.errors import ExportError
from fastast.exporting.exported import open_exported
from fastast.exporting.formats import find_format
from fastast.exporting.graph import onnx_graph
from fastast.exporting.metadata import ExportMetadata, Number, hash_weights
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.names import unknown_name
from fastast.reduction import ReductionError, TokenReduction
from fastast.zoo import trained_path

if TYPE_CHECKING:
    from onnx import ModelProto

    from fastast.frontend import Normalisation


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of `export`."""

    path: Path
    """The file; for OpenVINO the `.xml` file, which has its weights in a `.bin` file next to it."""
    metadata: ExportMetadata
    """Metadata of the file."""
    agreement: Agreement
    """How well the file agrees with PyTorch."""


def export(
    model: AudioSpectrogramTransformer | str | Path,
    path: str | Path,
    *,
    format: str = "onnx",
    reduction: TokenReduction | None = None,
    dtype: Number = "float32",
    calibration: Tensor | None = None,
    normalisation: Normalisation | None = None,
    geometry: Mapping[str, object] | None = None,
    translate: Callable[[AudioSpectrogramTransformer], ModelProto] | None = None,
) -> Exported:
    """Write `model` with `reduction` to a file that takes any batch size, and return what was written.

    model: a model in memory, which is left unchanged, the name of a zoo model with weights, or a checkpoint. path: ends
    in `.onnx` (format `onnx`) or `.xml` (format `openvino`, which writes a `.bin` file next to it). reduction: by
    default the one attached to the model, if any. dtype: `int8` computes the blocks' products with weights in 8 bits
    and needs `calibration`, filterbanks (k, f, m) of training clips. normalisation: that of the filterbank; by default
    the model's. geometry: what a checkpoint does not say, as for `fastast.load_model`. translate: makes the graph, in
    case it is kept for several files; by default `onnx_graph`.

    The file is kept only if its logits agree with PyTorch's on real sound, in batches of several sizes
    (`fastast.exporting.agreement`); its metadata holds labels, front end, reduction, score function and source.

    Raises ExportError if they do not agree (then nothing is written), a method cannot be exported, or an argument does
    not fit; ValueError for a path that cannot be written or is one of the model's own files; ReductionError for an
    impossible or second reduction; MissingRuntimeError if a package is not installed.
    """
    path = Path(path)
    found = find_format(format, path)
    found.check_files(path, [trained_path(str(model))] if isinstance(model, str | Path) else ())
    if dtype not in get_args(Number):
        raise ExportError(f"export: {unknown_name('dtype', dtype, get_args(Number))}")
    if dtype == "int8" and calibration is None:
        raise ExportError("export: int8 is calibrated on training clips; give their filterbanks as calibration=")
    if dtype != "int8" and calibration is not None:
        raise ExportError(f"export: {dtype} is not calibrated; leave out calibration=, or give dtype='int8'")
    with torch.inference_mode(False):  # tensors made in inference mode cannot be traced
        twin, source = _copy(model, reduction, geometry)
    if twin.attached is not None and twin.attached.reduction.threshold is not None:
        raise ExportError(
            "export: with a threshold each clip decides on its own number of tokens, while a graph has the schedule's "
            "fixed numbers; leave the threshold out"
        )
    normalisation = normalisation or twin.normalisation
    if normalisation is None:
        raise ExportError(
            "export: the model does not say how its filterbank is normalised (mean and deviation); give "
            "normalisation=, for example fastast.frontend.AUDIOSET, or --normalisation MEAN,STD"
        )
    metadata = _describe(twin, source, normalisation, dtype, calibration)
    graph = (translate or onnx_graph)(twin)
    if calibration is not None:
        from fastast.exporting.quantise import quantise

        d, h = twin.geometry.embed_dim, twin.geometry.mlp_dim
        graph = quantise(graph, _as_input(calibration, twin), {(d, 3 * d), (d, d), (d, h), (h, d)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export.", suffix=".tmp", dir=path.parent, ignore_cleanup_errors=True) as folder:
        written = Path(folder) / path.name
        found.write(graph, metadata, written)
        agreement = check_agreement(twin, open_exported(written), real_clips(twin.geometry, normalisation), dtype=dtype)
        found.move(written, path)
    return Exported(path=path, metadata=metadata, agreement=agreement)


def _copy(
    model: AudioSpectrogramTransformer | str | Path,
    reduction: TokenReduction | None,
    geometry: Mapping[str, object] | None,
) -> tuple[AudioSpectrogramTransformer, dict[str, Any]]:
    """Return a float32 copy on the CPU with the reduction, and the metadata about its source."""
    source: dict[str, Any] = {"source": None, "checkpoint_sha256": None}
    if isinstance(model, str | Path):
        where = trained_path(str(model))
        read = load_checkpoint(where, geometry=geometry)
        source = {"source": Path(model).name, "checkpoint_sha256": read.sha256}
        twin = load_model(where, geometry=geometry).eval()
    else:
        if geometry:
            raise ExportError("export: a model in memory has its own geometry; geometry= is only for checkpoints")
        if not isinstance(model, AudioSpectrogramTransformer):
            raise ExportError(
                f"export: {type(model).__qualname__} is not one of FastAST's own models. Save Hugging Face's AST with "
                "save_pretrained, its feature extractor too, and give the folder; for any other model, use "
                "torch.onnx.export(dynamo=True) while the reduction is attached"
            )
        if any(module.training for module in model.modules()):
            raise ExportError("export: the model is in training mode; call model.eval() first")
        twin = copy.deepcopy(model).to("cpu", torch.float32)
    source["weights_sha256"] = hash_weights(twin)
    twin.requires_grad_(False)
    if reduction is not None:
        if twin.attached is not None:
            raise ReductionError(
                f"export: the model already has a reduction ({twin.attached.reduction}); remove() its handle first, or "
                "export without giving a reduction, to keep it"
            )
        reduce(twin, reduction)
    return twin, source


def _describe(
    model: AudioSpectrogramTransformer,
    source: dict[str, Any],
    normalisation: Normalisation,
    dtype: Number,
    calibration: Tensor | None,
) -> ExportMetadata:
    reduction, geometry = model.attached.reduction if model.attached else None, model.geometry
    tokens = (geometry.num_tokens,) * geometry.depth if reduction is None else reduction.tokens_per_block(geometry)
    return ExportMetadata(
        fastast=fastast.__version__,
        **source,
        geometry=geometry,
        labels=model.labels,
        loss=model.loss,
        normalisation=normalisation,
        reduction=None if reduction is None else reduction.to_dict(),
        reduction_name="unmerged" if reduction is None else str(reduction),
        tokens_per_block=tokens,
        dtype=dtype,
        calibration_sha256=None if calibration is None else hash_clips(calibration),
    )


def _as_input(clips: Tensor, model: AudioSpectrogramTransformer) -> np.ndarray[Any, np.dtype[np.float32]]:
    expected = (model.geometry.num_frames, model.geometry.num_mel_bins)
    if clips.ndim != 3 or tuple(clips.shape[1:]) != expected:
        raise ExportError(
            f"export: calibration has shape {tuple(clips.shape)}; the model takes (clips, {expected[0]} frames, "
            f"{expected[1]} mel bins)"
        )
    return clips.detach().to("cpu", torch.float32).contiguous().numpy()


def hash_clips(clips: Tensor) -> str:
    """Return the SHA-256 of filterbanks (k, f, m)."""
    return hashlib.sha256(clips.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()).hexdigest()
