"""An exported file says what PyTorch says, for any batch, and what it is; a wrong one is not kept."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from small_exports import FORMATS, REDUCTION, noise, small_model
from timm.models.vision_transformer import VisionTransformer

import fastast
from fastast.exporting import exported as exporting
from fastast.exporting import exporter
from fastast.exporting.exporter import Exported
from fastast.exporting.runtimes import RUNTIMES as RUNTIME_TABLE
from fastast.schedule import Constant

RUNTIMES = ("onnxruntime", "openvino")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_are_pytorchs_for_any_batch_in_every_runtime_that_reads_the_file(
    exported: Exported, model, runtime
) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    if exported.path.suffix == ".xml" and runtime == "onnxruntime":
        pytest.skip("ONNX Runtime does not read OpenVINO's format")
    opened = fastast.open_exported(exported.path, runtime=runtime, threads=1)
    assert opened.session.threads == 1
    with fastast.reduce(model, REDUCTION):
        for count in (1, 2, 5):
            fbank = noise(count, seed=count)
            torch.testing.assert_close(opened(fbank), model(fbank), rtol=1e-4, atol=1e-5)
    assert (opened(fbank) - model(fbank)).abs().max() > 1e-2  # the merged model, not the unmerged one
    assert opened.measure_tokens(noise(1)) == (20, 14)  # 26 tokens, six fewer in each block
    fixed = fastast.open_exported(exported.path, runtime=runtime, batch_size=5)
    torch.testing.assert_close(fixed(fbank), opened(fbank), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="opened for batches of 5"):
        fixed(noise(2))
    with pytest.raises(ValueError, match="130 frames, 32 mel bins"):
        opened(torch.zeros(1, 131, 32))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["threads", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2"])
def test_a_number_that_no_runtime_can_mean_is_refused_before_one_sees_it(
    runtime: str, name: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "read_metadata", lambda path: None)
    monkeypatch.setattr(RUNTIME_TABLE.get(runtime), "open", lambda *_, **__: pytest.fail("the runtime saw it"))
    with pytest.raises(fastast.ExportError, match=re.escape(f"{name} is {value!r}; give a whole number of at least 1")):
        fastast.open_exported(tmp_path / "small.onnx", runtime=runtime, **{name: value})


def test_the_file_tells_what_it_is_to_readers_without_fastast(exported: Exported, model) -> None:
    if exported.path.suffix == ".onnx":
        import onnx

        told = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}["fastast"]
    else:
        import openvino

        told = openvino.Core().read_model(exported.path).get_rt_info("fastast").astype(str)
    entry = json.loads(told)
    assert entry["labels"] == ["Ä", "b", "c", "d", "e"]
    assert entry["activation"] == "softmax"  # trained with cross-entropy
    assert entry["input"]["shape"] == ["batch", 130, 32]
    assert entry["input"]["sample_rate"] == 16_000
    assert entry["normalisation"] == {"mean": -5.0, "std": 4.0}
    assert entry["reduction"]["schedule"] == "constant:6"
    assert entry["reduction"]["method"] == "tome"
    assert entry["tokens_per_block"] == [20, 14]
    assert entry["fastast"] == fastast.__version__
    assert len(entry["weights_sha256"]) == 64
    assert entry["dtype"] == "float32"
    reread = fastast.open_exported(exported.path)
    assert reread.metadata == exported.metadata
    assert (reread.geometry, reread.normalisation, reread.loss) == (model.geometry, model.normalisation, "ce")


def test_the_hash_is_of_the_weights_alone(exported: Exported) -> None:
    other = small_model()
    other.blocks[1].mlp.fc2.bias[3] += 1e-6
    assert exporter.hash_weights(small_model()) == exported.metadata.weights_sha256
    assert exporter.hash_weights(other) != exported.metadata.weights_sha256


def test_a_file_holds_no_path_of_this_machine(exported: Exported) -> None:
    for path in exported.path.parent.iterdir():
        content = path.read_bytes()
        assert str(Path(fastast.__file__).parent).encode() not in content
        assert b".py" not in content


def test_a_checkpoint_is_named_with_its_hash_and_the_model_in_memory_stays_as_it_is(
    checkpoint, model, tmp_path
) -> None:
    import hashlib

    done = fastast.export(checkpoint, tmp_path / "named.onnx", reduction=REDUCTION)
    assert done.metadata.source == "small.safetensors"
    assert done.metadata.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    model.train()
    try:
        with pytest.raises(fastast.ExportError, match=r"call model\.eval\(\)"):
            fastast.export(model, tmp_path / "training.onnx")
    finally:
        model.eval()
    with fastast.reduce(model, REDUCTION):
        attached = fastast.export(model, tmp_path / "attached.onnx")
        with pytest.raises(fastast.ReductionError, match="already has a reduction"):
            fastast.export(model, tmp_path / "twice.onnx", reduction=REDUCTION)
    assert attached.metadata.reduction == done.metadata.reduction
    assert model.attached is None


@pytest.mark.parametrize("format", FORMATS)
def test_a_graph_that_disagrees_is_refused_with_the_difference_and_nothing_is_left(
    model, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    translate = exporter.onnx_graph

    def wrong(twin):
        from onnx import numpy_helper

        graph = translate(twin)
        bias = next(tensor for tensor in graph.graph.initializer if tensor.name == "blocks.1.mlp.fc2.bias")
        values = numpy_helper.to_array(bias).copy()
        values[0] += 0.05
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        return graph

    monkeypatch.setattr(exporter, "onnx_graph", wrong)
    path = tmp_path / f"wrong{FORMATS[format]}"
    path.write_text("an older file")
    with pytest.raises(fastast.ExportError, match=r"differ from PyTorch's by at most 0\.\d+ of the largest"):
        fastast.export(model, path, format=format, reduction=REDUCTION)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "an older file"


def test_nothing_is_left_where_writing_fails(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnx.save_model", full)
    with pytest.raises(OSError, match="No space left"):
        fastast.export(model, tmp_path / "small.onnx", reduction=REDUCTION)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_checkpoint_that_is_exported_is_never_overwritten(model, in_memory: bool, tmp_path: Path) -> None:
    weights = tmp_path / "model.bin"
    torch.save(model.state_dict(), weights)
    before = weights.read_bytes()
    with pytest.raises(ValueError, match=r"model\.bin: (this is an input|exists without)"):
        fastast.export(model if in_memory else weights, tmp_path / "model.xml", format="openvino")
    assert weights.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["model.bin"]


def test_a_file_of_before_is_replaced_whatever_an_export_that_was_killed_left(model, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_text("an older export")
    left = tmp_path / f".small.onnx.{os.getpid()}.tmp"  # in a container, many processes have the same number
    left.mkdir()
    fastast.export(model, path, reduction=REDUCTION)
    assert fastast.open_exported(path).metadata.tokens_per_block == (20, 14)
    assert {child.name for child in tmp_path.iterdir()} == {path.name, left.name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'"),
        ({"format": "openvino"}, "must end in .xml"),
        ({"dtype": "int8"}, "calibrated on training clips"),
        ({"dtype": "int4"}, "Did you mean 'int8'"),
        ({"calibration": torch.zeros(2, 130, 32)}, "float32 is not calibrated"),
        ({"dtype": "int8", "calibration": torch.zeros(2, 99, 32)}, r"takes \(clips, 130 frames"),
        ({"dtype": "int8", "calibration": torch.zeros(1, 130, 32)}, "give at least 2"),
        ({"reduction": fastast.TokenReduction(schedule=Constant(12))}, "block 2 of 2"),
    ],
)
def test_what_does_not_fit_is_refused(model, arguments, message, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fastast.export(model, tmp_path / "small.onnx", **{"reduction": REDUCTION} | arguments)
    assert not list(tmp_path.iterdir())


def test_a_model_of_unknown_normalisation_is_refused(tmp_path: Path) -> None:
    bare = small_model()
    bare.normalisation = None
    with pytest.raises(fastast.ExportError, match="give normalisation="):
        fastast.export(bare, tmp_path / "small.onnx")


def test_a_model_of_another_library_is_refused_with_its_own_way(tmp_path: Path) -> None:
    """`reduce` and `compile` take it, so that a reader expects that this does too."""
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2).eval()
    with pytest.raises(fastast.ExportError, match=r"VisionTransformer is not .* use torch\.onnx\.export"):
        fastast.export(vit, tmp_path / "vit.onnx", reduction=fastast.TokenReduction(schedule=Constant(2)))


def test_a_missing_package_is_named_with_its_extra(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "fastast.exporting.errors.find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )
    with pytest.raises(
        fastast.ExportError, match=r"openvino, which is not installed; pip install 'fastast\[openvino\]'"
    ):
        fastast.export(model, tmp_path / "small.xml", format="openvino", reduction=REDUCTION)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("format", "ending", "other"), [("onnx", ".xml", "openvino"), ("openvino", ".onnx", "onnx")])
def test_the_ending_of_another_format_names_it(model, tmp_path: Path, format: str, ending: str, other: str) -> None:
    path = tmp_path / f"small{ending}"
    wanted = ".onnx" if format == "onnx" else ".xml"
    with pytest.raises(fastast.ExportError) as caught:
        fastast.export(model, path, format=format, reduction=REDUCTION)
    assert str(caught.value) == (
        f"{path}: the name of a file in format {format} must end in {wanted}, or give --format {other}"
    )
    with pytest.raises(fastast.ExportError, match=rf"must end in \{wanted}$"):
        fastast.export(model, tmp_path / "small.tflite", format=format, reduction=REDUCTION)
