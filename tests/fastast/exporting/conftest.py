"""A small model, and its exports: each graph is translated once, as that takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_exports import FORMATS, REDUCTION, small_model

import fastast
from fastast.exporting import exporter
from fastast.exporting.exporter import Exported
from fastast.model import AudioSpectrogramTransformer

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="session", autouse=True)
def graphs() -> Iterator[None]:
    """Translate every model and reduction once."""
    import onnx

    made: dict[str, bytes] = {}
    translate = exporter.onnx_graph

    def once(model: AudioSpectrogramTransformer) -> onnx.ModelProto:
        key = f"{model.attached and model.attached.reduction} {exporter.hash_weights(model)}"
        if key not in made:
            made[key] = translate(model).SerializeToString()
        return onnx.load_model_from_string(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "onnx_graph", once)
        patch.setattr("fastast.exporting.cache.onnx_graph", once)
        yield


@pytest.fixture(scope="session")
def model() -> AudioSpectrogramTransformer:
    return small_model()


@pytest.fixture(scope="session", params=FORMATS)
def exported(request: pytest.FixtureRequest, model, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The merged model in a format."""
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    path = tmp_path_factory.mktemp(request.param) / f"small{FORMATS[request.param]}"
    return fastast.export(model, path, format=request.param, reduction=REDUCTION)


@pytest.fixture
def checkpoint(model, tmp_path: Path) -> Path:
    return fastast.save_checkpoint(tmp_path / "small.safetensors", model)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "FASTAST_CACHE", str(tmp_path_factory.mktemp("cache")))
