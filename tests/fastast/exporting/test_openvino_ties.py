"""Equals keep their order in OpenVINO, as ONNX defines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="openvino is not installed")


@pytest.mark.parametrize("count", [7, 130, 300])
def test_top_k_keeps_equals_in_the_order_of_their_positions(count: int, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    from fastast.exporting.openvino_session import core, read_graph

    nodes = [
        helper.make_node("Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.INT64, [1], [count])),
        helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=-1, largest=1, sorted=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", count])]
    outputs = [helper.make_tensor_value_info("indices", TensorProto.INT64, None)]
    opset = [helper.make_opsetid("", 20)]
    path = tmp_path / "top_k.onnx"
    save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=opset, ir_version=10), path)
    compiled = core().compile_model(read_graph(path), "CPU")
    for seed in range(5):
        x = np.random.default_rng(seed).integers(0, 9, (2, count)).astype(np.float32)
        np.testing.assert_array_equal(compiled(x)[0], np.argsort(-x, axis=1, kind="stable"))
