"""Engines that run an export of the model in another runtime, on the CPU.

Shapes: `b` batch, `s` samples, `f` frames, `m` mel bins, `c` classes, `k` clips.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bench.cell.engines.ran import Ran
from bench.records import schema
from bench.sweep.cells import Cell
from bench.sweep.data import DataRef
from fastast.exporting import ExportedModel, export_to_cache, open_exported
from fastast.exporting.calibration import calibration_clips
from fastast.exporting.runtimes import RUNTIMES
from fastast.frontend import AUDIOSET, Frontend, Normalisation
from fastast.geometry import Geometry
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction

Name = Literal["onnxruntime", "openvino"]


class ExportedArm:
    """A model in a runtime, opened within its first call, whose time is recorded.

    The file is exported before that, or taken from the cache, as in deployment a model is exported only once.
    """

    def __init__(self, path: Path, runtime: str, batch_size: int | None, frontend: Frontend | None = None) -> None:
        """`batch_size`: the only one that the arm accepts; None for any. With `frontend`, it takes waveforms (b, s)."""
        self._path, self._runtime, self._batch_size, self._frontend = path, runtime, batch_size, frontend

    @cached_property
    def exported(self) -> ExportedModel:
        """The file, opened with as many threads as PyTorch has."""
        return open_exported(
            self._path, runtime=self._runtime, threads=torch.get_num_threads(), batch_size=self._batch_size
        )

    def __call__(self, clips: Tensor) -> Tensor:
        """(b, f, m) or (b, s) -> logits (b, c)."""
        return self.exported(clips if self._frontend is None else self._frontend(clips))


class ExportedEngine:
    """A runtime of `fastast.exporting`, in float32 or int8; quality is measured on the same file that is timed."""

    dtypes = ("float32", "int8")
    scopes = ("forward", "waveform", "stream")
    on_gpus = False

    def __init__(self, runtime: Name) -> None:
        self._runtime = runtime

    def attentions(self, scope: str) -> tuple[str, ...]:
        """Return `auto` alone, as the runtime chooses its own kernels."""
        return ("auto",)

    def require(self) -> None:
        """Raise MissingRuntimeError if the runtime is not installed."""
        RUNTIMES.get(self._runtime).require()

    def arm(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
        *,
        batch_size: int | None,
        frontend: Frontend | None = None,
    ) -> ExportedArm:
        """Return the exported model."""
        path = export_to_cache(
            model,
            reduction,
            runtime=self._runtime,
            dtype="int8" if cell.dtype == "int8" else "float32",
            calibration=calibration_of(cell, model),
            normalisation=model.normalisation or AUDIOSET,
        )
        return ExportedArm(path, self._runtime, batch_size, frontend)

    def ran(
        self,
        cell: Cell,
        model: AudioSpectrogramTransformer,
        candidate: AudioSpectrogramTransformer,
        reduction: TokenReduction | None,
    ) -> Ran:
        """Return the model for any batch size, with the kernels that the runtime chose."""
        arm = self.arm(cell, model, reduction, batch_size=None)
        facts = arm.exported.session.facts()
        products = ", ".join(f"{count} {kind}" for kind, count in sorted(facts.products.items()))
        kernels = {"runtime": facts.runtime, "products": products, "attention": facts.attention}
        return Ran(
            forward=arm,
            tokens=arm.exported.measure_tokens,
            engine=schema.EngineFacts(path=self._runtime, why_plain="", kernels=kernels),
            int8_products=facts.products.get("int8", 0),
        )


def calibration_of(cell: Cell, model: AudioSpectrogramTransformer) -> Tensor | None:
    """Return the training clips (k, f, m) that calibrate a cell's int8; None for other dtypes."""
    if cell.calibration is None:
        return None
    return _read(cell.calibration, model.geometry, model.normalisation)


@lru_cache(maxsize=1)
def _read(clips: DataRef, geometry: Geometry, normalisation: Normalisation | None) -> Tensor:
    """Read the clips, once for all arms of a cell."""
    data, indices = clips.open()
    with torch.inference_mode(False):
        return calibration_clips(data, Frontend(geometry, normalisation or AUDIOSET), indices)
