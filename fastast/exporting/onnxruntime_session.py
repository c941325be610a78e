"""Run exported files with ONNX Runtime on the CPU.

Shapes: `b` batch, `f` frames, `m` mel bins, `c` classes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fastast.exporting.errors import ExportError, require
from fastast.exporting.graph import BATCH, INPUT, OUTPUT, block_outputs
from fastast.exporting.runtimes import GraphFacts

_PRODUCTS = {
    "MatMul": "float32",
    "FusedMatMul": "float32",
    "Gemm": "float32",
    "QLinearMatMul": "int8",
    "MatMulIntegerToFloat": "int8",
    "DynamicQuantizeMatMul": "int8",
    "QGemm": "int8",
}
"""Type in which a product is computed, by the operator that ONNX Runtime turned it into."""


class OnnxRuntimeSession:
    """A graph loaded in ONNX Runtime."""

    def __init__(self, path: Path, *, threads: int, batch_size: int | None) -> None:
        self.threads = threads
        self._path, self._batch_size = path, batch_size
        self._session = self._open(path)

    def __call__(self, fbank: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a filterbank (b, f, m) to logits (b, c)."""
        return self._session.run([OUTPUT], {INPUT: fbank})[0]

    def measure_tokens(self, fbank: NDArray[np.float32]) -> tuple[int, ...]:
        """Run a batch (b, f, m) and return the number of tokens that left each block."""
        import onnx

        graph = onnx.load(self._path)
        names = block_outputs(graph)
        graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        session = self._open(graph.SerializeToString())
        return tuple(found.shape[1] for found in session.run(names, {INPUT: fbank}))

    def facts(self) -> GraphFacts:
        """Return how ONNX Runtime executes the graph."""
        import onnx
        import onnxruntime

        with TemporaryDirectory() as folder:
            optimised = Path(folder) / "optimised.onnx"
            self._open(self._path, keep=optimised)
            operators = [node.op_type for node in onnx.load(optimised).graph.node]
        return GraphFacts(
            runtime=f"onnxruntime {onnxruntime.__version__}",
            products=Counter(_PRODUCTS[name] for name in operators if name in _PRODUCTS),
            attention="math" if "Softmax" in operators else "fused",
        )

    def _open(self, model: Path | bytes, *, keep: Path | None = None):  # type: ignore[no-untyped-def]
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Its threads would keep spinning after a call, and slow down whatever runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # errors
        if self._batch_size is not None:
            options.add_free_dimension_override_by_name(BATCH, self._batch_size)
        if keep is not None:
            options.optimized_model_filepath = str(keep)
        content = model if isinstance(model, bytes) else str(model)
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base class
            raise ExportError(f"{self._path}: ONNX Runtime cannot read it: {error}") from error


class OnnxRuntime:
    """The runtime `onnxruntime`."""

    name = "onnxruntime"
    formats = ("onnx",)

    def require(self) -> None:
        """Raise MissingRuntimeError if ONNX Runtime is not installed."""
        require("onnxruntime", "onnx", extra="onnxruntime", purpose="the runtime onnxruntime")

    def open(self, path: Path, *, threads: int, batch_size: int | None = None) -> OnnxRuntimeSession:
        """Load an ONNX file."""
        return OnnxRuntimeSession(path, threads=threads, batch_size=batch_size)


RUNTIME = OnnxRuntime()
