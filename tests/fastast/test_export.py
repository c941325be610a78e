"""The plain-torch forward goes through torch.compile, torch.export and the ONNX exporter, merged or not.

The exporter translates `scatter_reduce(reduce="mean")` wrongly without a word; merging is a sum and a division, and the
comparison with logits on new data would notice.
"""

from __future__ import annotations

import io
import shutil
import sys
import warnings

import pytest
import torch
from torch import nn

from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction import TokenReduction
from fastast.schedule import Constant, PerBlock

REDUCTIONS = {
    "unmerged": None,
    "merged": TokenReduction(schedule=Constant(6)),
    "unweighted_in_place": TokenReduction(
        schedule=PerBlock((8, 6)), proportional=False, options={"order": "position", "metric": "tokens"}
    ),
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=REDUCTIONS.values(), ids=REDUCTIONS)
def model(request) -> AudioSpectrogramTransformer:
    """26 tokens: (32 - 16) // 10 + 1 = 2 rows, (136 - 16) // 10 + 1 = 13 columns, less one, and two."""
    geometry = Geometry(embed_dim=32, depth=2, num_heads=2, num_classes=5, num_mel_bins=32, num_frames=130)
    torch.manual_seed(0)
    model = AudioSpectrogramTransformer(geometry).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    if request.param is not None:
        reduce(model, request.param)
    return model


def clips(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 130, 32, generator=torch.Generator().manual_seed(seed))


def check(model: nn.Module, other, fbank: torch.Tensor) -> None:
    expected = model(fbank)
    torch.testing.assert_close(torch.as_tensor(other(fbank)), expected, **CLOSE)
    assert (expected - model(-fbank)).abs().max() > 1e-2  # an answer that ignores its input would not do


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("c++"), reason="needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_compiled_by_inductor_in_one_graph(model) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    for seed in (1, 2):
        check(model, compiled, clips(2, seed))


def test_compiled_in_one_graph_without_a_code_generator(model) -> None:
    torch._dynamo.reset()
    check(model, torch.compile(model, fullgraph=True, backend="aot_eager"), clips(2))


@pytest.mark.slow
def test_exported_saved_and_loaded_for_any_batch(model) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (clips(2),), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for count in (1, 2, 5):
        check(model, loaded, clips(count, seed=count))


@pytest.mark.slow
@pytest.mark.parametrize("model", [REDUCTIONS["unweighted_in_place"]], ids=["unweighted_in_place"], indirect=True)
def test_onnx_gives_the_same_logits_for_any_batch(model, tmp_path) -> None:
    """Of the others, files for users are made in `tests/fastast/exporting`."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (clips(2),),
            str(path),
            dynamo=True,
            input_names=["fbank"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            verbose=False,
        )
    onnx.checker.check_model(str(path))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        check(model, lambda fbank: session.run(["logits"], {"fbank": fbank.numpy()})[0], clips(count, seed=count))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_a_trace_of_one_clip_takes_several(small_model, small_fbank) -> None:
    with reduce(small_model, TokenReduction(schedule="constant:5")):
        traced = torch.jit.trace(small_model, small_fbank[:1], check_trace=False)
        torch.testing.assert_close(traced(small_fbank), small_model(small_fbank))
