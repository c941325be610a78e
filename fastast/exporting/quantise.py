"""int8: the blocks' products with weights, statically calibrated.

Shapes: `k` clips, `f` frames, `m` mel bins.

Weights are signed with a scale for each output and seven bits of the eight, without which sums overflow on processors
without VNNI; activations are unsigned with one scale and zero point for each tensor. Everything else stays float32: the
patch embedding (OpenVINO computes it wrongly from this form of the graph), the head, attention's own products, and the
comparison of tokens, in which 8 bits would tie tokens that differ.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastast.exporting.errors import ExportError, require
from fastast.exporting.graph import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto

_BATCH = 4


def quantise(graph: ModelProto, clips: NDArray[np.float32], layers: Collection[tuple[int, int]]) -> ModelProto:
    """Return a graph whose products with weights are int8, calibrated on filterbanks (k, f, m) of training clips.

    It has the operators QuantizeLinear and DequantizeLinear around float products, which both runtimes make int8
    products of. `layers`: shapes of the weights (in, out) of the blocks' layers; what a method learned to compare
    tokens by is none of them and stays float32. Raises ExportError for too few clips.
    """
    require("onnxruntime", "onnx", extra="onnxruntime", purpose="int8")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if len(clips) < 2:
        raise ExportError(f"export: int8 is calibrated on training clips, and there are {len(clips)}; give at least 2")

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.float32]] = iter(np.split(clips, range(_BATCH, len(clips), _BATCH)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    weights = {tensor.name for tensor in graph.graph.initializer if tuple(tensor.dims) in layers}
    products = [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    if not products:
        raise ExportError("export: the graph has no product with weights that could be int8")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises its own preprocessing, which undoes the free batch
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_static(
                graph,
                path,
                Batches(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=products,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
            return onnx.load_model(path)
    finally:
        root.setLevel(level)
