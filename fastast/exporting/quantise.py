"""Quantise the blocks' products with weights to int8, with static calibration.

Shapes: `k` clips, `f` frames, `m` mel bins.

Weights are signed, with a scale for each output and only seven of the eight bits, because sums would overflow on
processors without VNNI; activations are unsigned, with one scale and zero point for each tensor. Everything else stays
float32: the patch embedding (OpenVINO computes it wrongly from this form of the graph), the head, attention's own
products, and the comparison of tokens, in which 8 bits would make ties of tokens that differ.
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

    It has QuantizeLinear and DequantizeLinear operators around float products, which both runtimes turn into int8
    products. `layers`: shapes (in, out) of the weights of the blocks' layers; weights that a method learned to compare
    tokens by are not among them and stay float32. Raises ExportError for too few clips, or if no product has such
    weights.
    """
    require("onnxruntime", "onnx", extra="onnxruntime", purpose="int8")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if len(clips) < 2:
        raise ExportError(f"export: int8 is calibrated on training clips; {len(clips)} were given: give at least 2")

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.float32]] = iter(np.split(clips, range(_BATCH, len(clips), _BATCH)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    weights = {tensor.name for tensor in graph.graph.initializer if tuple(tensor.dims) in layers}
    products = [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    if not products:
        raise ExportError("export: the graph has no products with weights to quantise to int8")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends its own preprocessing, which would fix the batch size
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
