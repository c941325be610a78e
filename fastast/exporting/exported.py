"""Exported files, opened and ready to run.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastast.exporting.errors import ExportError, MissingRuntimeError
from fastast.exporting.formats import FORMATS, format_of, read_metadata
from fastast.exporting.metadata import ExportMetadata
from fastast.exporting.runtimes import RUNTIMES, GraphRuntime, GraphSession, usual_threads
from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.scores import Loss


class ExportedModel:
    """A file loaded in a runtime: normalised filterbank (b, f, m) -> logits (b, c), on the CPU, without gradients."""

    metadata: ExportMetadata
    """Metadata of the file."""
    runtime: str
    """Name of the runtime that runs it."""
    session: GraphSession
    """The loaded graph."""

    def __init__(
        self, metadata: ExportMetadata, runtime: str, session: GraphSession, batch_size: int | None = None
    ) -> None:
        """Wrap a session that `open_exported` has opened; `batch_size` is the only one it takes, None for any."""
        self.metadata, self.runtime, self.session, self._batch_size = metadata, runtime, session, batch_size

    def __call__(self, fbank: Tensor) -> Tensor:
        """Map a filterbank (b, f, m) to logits (b, c), float32. Raises ValueError for another shape."""
        geometry = self.geometry
        expected = (geometry.num_frames, geometry.num_mel_bins)
        if fbank.ndim != 3 or tuple(fbank.shape[1:]) != expected:
            raise ValueError(
                f"exported model: the filterbank has shape {tuple(fbank.shape)}; this file takes (batch, {expected[0]} "
                f"frames, {expected[1]} mel bins)"
            )
        if self._batch_size is not None and len(fbank) != self._batch_size:
            raise ValueError(
                f"exported model: a batch of {len(fbank)}; it was opened for batches of {self._batch_size}"
            )
        # Copy tensors that are not contiguous: runtimes read the memory in order.
        return torch.from_numpy(self.session(fbank.detach().to("cpu", torch.float32).contiguous().numpy()))

    def measure_tokens(self, fbank: Tensor) -> tuple[int, ...]:
        """Run a batch (b, f, m) and return the number of tokens that left each block."""
        return self.session.measure_tokens(fbank.detach().to("cpu", torch.float32).contiguous().numpy())

    @property
    def geometry(self) -> Geometry:
        """Shape of the source model."""
        return self.metadata.geometry

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where known."""
        return self.metadata.labels

    @property
    def normalisation(self) -> Normalisation:
        """Normalisation of the filterbank."""
        return self.metadata.normalisation

    @property
    def loss(self) -> Loss | None:
        """Loss that the source model was trained with, where known."""
        return self.metadata.loss

    def __repr__(self) -> str:
        return f"ExportedModel({self.metadata.reduction_name}, {self.metadata.dtype}, {self.runtime})"


def open_exported(
    path: str | Path, *, runtime: str | None = None, threads: int | None = None, batch_size: int | None = None
) -> ExportedModel:
    """Open a file that `fastast.export` wrote.

    runtime: `onnxruntime` or `openvino`; by default the best installed one for the format. threads: at least 1; by
    default as many as PyTorch uses. batch_size: the only batch size that the model will take, at least 1, which can be
    faster; by default any.

    Raises ExportError for a file that FastAST did not export or that the runtime cannot run, and for numbers below 1;
    MissingRuntimeError if the runtime is not installed.
    """
    path = Path(path)
    threads, batch_size = _from_one("threads", threads), _from_one("batch_size", batch_size)
    metadata = read_metadata(path)
    chosen = _choose(path, runtime)
    session = chosen.open(path, threads=usual_threads(threads), batch_size=batch_size)
    return ExportedModel(metadata, chosen.name, session, batch_size)


def _from_one(name: str, value: int | None) -> int | None:
    """Return a whole number of at least 1, or None: runtimes treat others as they please, or crash."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ExportError(f"open_exported: {name} is {value!r}; give a whole number of at least 1, or leave it out")
    return int(value)


def _choose(path: Path, name: str | None) -> GraphRuntime:
    found = format_of(path)
    assert found is not None
    if name is not None:
        runtime = RUNTIMES.get(name)
        if found.name not in runtime.formats:
            endings = ", ".join(FORMATS[form].suffixes[0] for form in runtime.formats)
            raise ExportError(f"{path}: the runtime {name} reads {endings}; run it with {' or '.join(found.runtimes)}")
        runtime.require()
        return runtime
    missing: MissingRuntimeError | None = None
    for candidate in map(RUNTIMES.get, found.runtimes):
        try:
            candidate.require()
        except MissingRuntimeError as error:
            missing = missing or error
        else:
            return candidate
    assert missing is not None
    raise missing
