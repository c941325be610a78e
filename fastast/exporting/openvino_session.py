"""Run exported files with OpenVINO on the CPU.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastast.exporting.errors import ExportError, require
from fastast.exporting.runtimes import GraphFacts

if TYPE_CHECKING:
    from openvino import Core, Model

_PRODUCTS = ("FullyConnected", "MatMul")
"""OpenVINO's layers that are matrix products, with weights or between activations."""


class OpenVinoSession:
    """A graph loaded in OpenVINO."""

    def __init__(self, path: Path, *, threads: int, batch_size: int | None) -> None:
        self.threads = threads
        self._path, self._batch_size = path, batch_size
        self._compiled = self._compile(read_graph(path))

    def __call__(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a filterbank (b, f, m) to logits (b, c)."""
        return self._compiled(fbank)[0]

    def measure_tokens(self, fbank: NDArray[np.float32]) -> tuple[int, ...]:
        """Run a batch (b, f, m) and return the number of tokens that left each block."""
        model = read_graph(self._path)
        hidden = [layer.output(0) for layer in model.get_ordered_ops() if layer.get_type_name() == "Gelu"]
        model.add_outputs(hidden)
        found = self._compile(model)(fbank)
        return tuple(found[index + 1].shape[1] for index in range(len(hidden)))

    def facts(self) -> GraphFacts:
        """Return how OpenVINO executes the graph."""
        import openvino

        layers = [_notes(layer) for layer in self._compiled.get_runtime_model().get_ops()]
        products = [notes for notes in layers if notes["layerType"] in _PRODUCTS]
        return GraphFacts(
            runtime=f"openvino {openvino.__version__.split('-')[0]}",
            products=Counter(
                "int8" if notes["primitiveType"].endswith("I8") else notes["runtimePrecision"].replace("f32", "float32")
                for notes in products
            ),
            attention="math" if any(notes["layerType"] == "Softmax" for notes in layers) else "fused",
        )

    def _compile(self, model: Model) -> Any:
        if self._batch_size is not None:
            shape = model.input(0).get_partial_shape()
            shape[0] = self._batch_size
            model.reshape(shape)
        # By default OpenVINO computes in bfloat16 where the processor can.
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        return core().compile_model(model, "CPU", settings)


@cache
def core() -> Core:
    """Return OpenVINO's core, one per process and never released.

    Each core gives the thread a stack for signal handlers, and restores the previous one when it is released. If two
    cores are not released in reverse order, the first one's stack stays in use after it was freed, and the next signal
    that Python handles, such as the end of a process that loads clips, crashes the process.
    """
    import openvino

    return openvino.Core()


def read_graph(path: Path) -> Model:
    """Return the graph of an ONNX or IR file, with ties ordered as ONNX defines.

    In ONNX, TopK orders ties by position. OpenVINO reads it as a TopK that need not: of two tokens with exactly equal
    similarity, the later one could merge. Raises ExportError for a file that OpenVINO cannot read.
    """
    try:
        model = core().read_model(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ExportError(f"{path}: OpenVINO cannot read it: {reason}") from error
    for layer in model.get_ops():
        if layer.get_type_name() == "TopK":
            if layer.get_attributes()["sort"] == "none":  # from an ArgMax, in older versions
                layer.set_attribute("sort", "value")
            layer.set_attribute("stable", True)
    return model


def _notes(layer: Any) -> dict[str, str]:
    notes = layer.get_rt_info()
    return {name: notes[name].astype(str) for name in ("layerType", "primitiveType", "runtimePrecision")}


class OpenVinoRuntime:
    """The runtime `openvino`."""

    name = "openvino"
    formats = ("openvino", "onnx")

    def require(self) -> None:
        """Raise MissingRuntimeError if OpenVINO is not installed."""
        require("openvino", extra="openvino", purpose="the runtime openvino")

    def open(self, path: Path, *, threads: int, batch_size: int | None = None) -> OpenVinoSession:
        """Load an IR or ONNX file."""
        return OpenVinoSession(path, threads=threads, batch_size=batch_size)


RUNTIME = OpenVinoRuntime()
