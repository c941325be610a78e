"""int8: the blocks' products run in 8 bits in both runtimes, and the logits stay near."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_exports import FORMATS, REDUCTION

import fastast
from fastast.exporting.agreement import real_clips
from fastast.exporting.graph import INPUT
from fastast.exporting.quantise import quantise


@pytest.fixture(scope="module", params=FORMATS)
def opened(request, model, tmp_path_factory):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    path: Path = tmp_path_factory.mktemp("int8") / f"small{FORMATS[request.param]}"
    clips = real_clips(model.geometry, model.normalisation)
    done = fastast.export(model, path, format=request.param, reduction=REDUCTION, dtype="int8", calibration=clips)
    assert done.metadata.dtype == "int8"
    assert done.metadata.calibration_sha256
    return fastast.open_exported(path)


@pytest.mark.slow
def test_eight_products_are_int8_and_the_comparison_of_tokens_is_not(opened) -> None:
    # Two blocks with four products each: queries, keys and values; projection; two of the MLP.
    products = opened.session.facts().products
    assert products["int8"] == 8
    assert products["float32"] >= 3  # two comparisons of tokens, and the head


def test_logits_are_near_pytorchs_but_not_the_same(opened, model) -> None:
    clips = real_clips(model.geometry, model.normalisation).flip(1)  # other clips than those of the calibration
    with fastast.reduce(model, REDUCTION):
        expected = model(clips)
    difference = float((opened(clips) - expected).abs().max() / expected.abs().max())
    assert 1e-4 < difference < 0.2


def test_any_batch(opened, model) -> None:
    clips = real_clips(model.geometry, model.normalisation)
    one_by_one = torch.cat([opened(clip) for clip in clips.split(1)])
    np.testing.assert_allclose(opened(clips).numpy(), one_by_one.numpy(), rtol=1e-4, atol=1e-4)


def test_what_a_method_learned_to_compare_by_stays_float32() -> None:
    """A product with a weight of another shape than the layers of a block, as DTEM's embedding is."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {"layer": np.ones((4, 8), np.float32), "learned": np.ones((4, 2), np.float32)}
    nodes = [helper.make_node("MatMul", [INPUT, name], [f"by {name}"], name=name) for name in weights]
    clips = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, 4])
    outputs = [helper.make_tensor_value_info(f"by {name}", TensorProto.FLOAT, None) for name in weights]
    kept = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    opset = [helper.make_opsetid("", 18)]
    graph = helper.make_model(helper.make_graph(nodes, "two", [clips], outputs, kept), opset_imports=opset)
    graph.ir_version = min(graph.ir_version, 10)
    noise = np.random.default_rng(0).normal(size=(4, 3, 4)).astype(np.float32)
    found = quantise(graph, noise, {(4, 8)})
    onnx.checker.check_model(found)
    made = {output: node.op_type for node in found.graph.node for output in node.output}
    products = {node.name: made.get(node.input[1]) for node in found.graph.node if node.op_type == "MatMul"}
    assert products == {"layer": "DequantizeLinear", "learned": None}
