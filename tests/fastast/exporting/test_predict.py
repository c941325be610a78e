"""`fastast export` and `fastast predict` on other runtimes, from a checkpoint and from an exported file."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_exports import FORMATS, REDUCTION, noise, small_model
from typer.testing import CliRunner

import fastast
from fastast.cli import app
from fastast.exporting import cache, export_to_cache
from fastast.inference.predictor import Predictor
from fastast.reduction.registry import METHODS

EXAMPLE = Path(__file__).parents[3] / "fastast/assets/examples/bird_and_water.ogg"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def scores(text: str) -> np.ndarray:
    found = json.loads(text.splitlines()[-1])["labels"]
    return np.array([entry["score"] for entry in sorted(found, key=lambda entry: entry["label"])])


@pytest.mark.parametrize("format", FORMATS)
def test_an_exported_file_predicts_what_its_checkpoint_does(checkpoint: Path, format: str, tmp_path: Path) -> None:
    if format == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    out = tmp_path / f"small{FORMATS[format]}"
    said = run("export", checkpoint, "--schedule", "constant:6", "--format", format, "--out", out)
    assert "26 tokens merged to 14 by tome constant:6" in said
    assert re.search(r"logits of \d clips differ from PyTorch's by at most", said)
    plain = run("predict", EXAMPLE, "--json", "-m", checkpoint, "--schedule", "constant:6")
    np.testing.assert_allclose(scores(run("predict", EXAMPLE, "--json", "-m", out)), scores(plain), atol=1e-5)
    text = run("predict", EXAMPLE, "-m", out)
    assert "26 tokens merged to 14 by tome constant:6, on " in text
    for arguments, message in (
        (("--schedule", "constant:6"), r"its schedule is built into the file \(tome constant:6\)"),
        (("--engine", "plain"), "does not run in plain PyTorch"),
        (("--draw", tmp_path), "does not tell which tokens merged"),
    ):
        assert re.search(message, run("predict", EXAMPLE, "-m", out, *arguments, code=1))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_by_name_exports_once_and_predicts_the_same(
    checkpoint: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    plain = Predictor(str(checkpoint), REDUCTION)(EXAMPLE)
    said: list[str] = []
    first = Predictor(str(checkpoint), REDUCTION, runtime=engine, say=said.append)
    assert [text for text in said if engine in text] == said != []
    assert first.describe().endswith(f"merged to 14 by tome constant:6, on {engine}")
    np.testing.assert_allclose(first(EXAMPLE).scores, plain.scores, atol=1e-5)
    monkeypatch.setattr("fastast.exporting.cache.export", None)
    again = Predictor(str(checkpoint), REDUCTION, runtime=engine, say=said.append)
    np.testing.assert_array_equal(again(EXAMPLE).scores, first(EXAMPLE).scores)
    assert len(said) == 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were exported, which the cache did not have."""
    files: list[Path] = []

    def write(model: object, path: Path, **_: object) -> None:
        path.parent.mkdir()
        path.write_text("exported")
        files.append(path)

    monkeypatch.setattr("fastast.exporting.cache.export", write)
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))  # methods of a test end with it
    return files


OWN_METHOD = """
from fastast.reduction.registry import all_free, reduction_method, register_method

@register_method
@reduction_method("{name}", label="own", limit=all_free)
def choose(tokens, r, options):
    return {what}
"""


PARTIAL_METHOD = """
import functools

from fastast.reduction.registry import all_free, reduction_method, register_method

def choose(tokens, r, options, least):
    return None

CHOOSE = functools.partial(choose, least=1)
register_method(reduction_method("in_part", label="own", limit=all_free)(CHOOSE))
"""


@pytest.mark.parametrize("package", [False, True], ids=["a file", "a file of a package"])
def test_the_cache_knows_the_code_of_a_method_from_elsewhere(
    model, made: list[Path], package: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{package}".lower()
    home = tmp_path / f"home_of_{name}" if package else tmp_path
    home.mkdir(exist_ok=True)
    if package:
        (home / "__init__.py").write_text("")
        (home / "help.py").write_text("LEAST = 1\n")
    file = home / f"{name}.py"
    file.write_text(OWN_METHOD.format(name=name, what="None"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module(f"{home.name}.{name}" if package else name)
    reduction = fastast.TokenReduction(schedule=fastast.Constant(6), method=name)

    def export() -> Path:
        return export_to_cache(model, reduction, runtime="onnxruntime", folder=tmp_path / "cache")

    assert export() == export()
    assert len(made) == 1
    file.write_text(OWN_METHOD.format(name=name, what="tokens"))
    assert export() == export()
    assert len(made) == 2
    if package:
        (home / "help.py").write_text("LEAST = 2\n")
        export()
        assert len(made) == 3


def test_a_method_without_a_file_is_exported_every_time(model, made: list[Path], tmp_path: Path) -> None:
    exec(OWN_METHOD.format(name="typed", what="None"), {"__name__": "typed into a session"})
    reduction = fastast.TokenReduction(schedule=fastast.Constant(6), method="typed")
    for _ in range(2):
        export_to_cache(model, reduction, runtime="onnxruntime", folder=tmp_path)
    assert len(made) == 2


def test_a_method_of_which_a_part_is_given_beforehand_is_exported_every_time(
    model, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What functools.partial makes tells of its own module, which is FastAST's no more than where the code is."""
    (tmp_path / "own_partial.py").write_text(PARTIAL_METHOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("own_partial")
    reduction = fastast.TokenReduction(schedule=fastast.Constant(6), method="in_part")
    files = {export_to_cache(model, reduction, runtime="onnxruntime", folder=tmp_path) for _ in range(2)}
    module.CHOOSE.__module__ = "fastast.reduction.methods.tome"  # as functools.update_wrapper copies it
    files |= {export_to_cache(model, reduction, runtime="onnxruntime", folder=tmp_path) for _ in range(2)}
    assert len(made) == len(files) == 4


class OwnEmbedding(fastast.AudioSpectrogramTransformer):
    """A model with a method of its own."""

    def embed(self, fbank: torch.Tensor) -> torch.Tensor:
        return super().embed(fbank) * 2


def _other_activation(model: fastast.AudioSpectrogramTransformer) -> None:
    model.blocks[1].mlp.act = torch.nn.ReLU()


def _own_class(model: fastast.AudioSpectrogramTransformer) -> None:
    model.__class__ = OwnEmbedding


def _hook(model: fastast.AudioSpectrogramTransformer) -> None:
    model.blocks[0].mlp.register_forward_hook(lambda module, given, out: out * 2)


def _other_epsilon(model: fastast.AudioSpectrogramTransformer) -> None:
    model.norm.eps = 0.5


@pytest.mark.parametrize("change", [_other_activation, _own_class, _hook, _other_epsilon])
def test_a_changed_model_of_the_same_weights_is_never_given_another_ones_file(
    change: Callable[[fastast.AudioSpectrogramTransformer], None], made: list[Path], tmp_path: Path
) -> None:
    changed, fbank = small_model(), noise(2)
    before = changed(fbank)
    change(changed)
    assert not torch.allclose(changed(fbank), before, atol=1e-3)
    plain = export_to_cache(small_model(), runtime="onnxruntime", folder=tmp_path)
    assert export_to_cache(changed, runtime="onnxruntime", folder=tmp_path) != plain
    assert export_to_cache(small_model(), runtime="onnxruntime", folder=tmp_path) == plain
    assert len(made) == 2


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_another_version_of_what_translates_exports_anew(
    package: str, model, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.version
    before = export_to_cache(model, runtime="onnxruntime", folder=tmp_path)
    for home in (importlib.metadata, cache):
        monkeypatch.setattr(home, "version", lambda name: "99.0" if name == package else installed(name), raising=False)
    assert export_to_cache(model, runtime="onnxruntime", folder=tmp_path) != before
    assert len(made) == 2


def test_other_layers_of_dtem_export_anew(model, made: list[Path], tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "fastast"
    package.mkdir()
    monkeypatch.setattr(fastast, "__file__", str(package / "__init__.py"))
    layers = package / "own.merging.safetensors"
    found = set()
    for content in (b"1", b"2", b"1"):
        layers.write_bytes(content)
        found.add(export_to_cache(model, runtime="onnxruntime", folder=tmp_path))
    assert len(found) == len(made) == 2


def test_the_cache_tells_weights_reductions_and_labels_apart(model, made: list[Path], tmp_path: Path) -> None:

    def file(model: fastast.AudioSpectrogramTransformer, r: int) -> Path:
        reduction = fastast.TokenReduction(schedule=fastast.Constant(r))
        return export_to_cache(model, reduction, runtime="onnxruntime", folder=tmp_path)

    heavier, renamed = small_model(), small_model()
    heavier.head.linear.bias[0] += 1e-3
    renamed.labels = ("a", "b", "c", "d", "e")
    files = [file(model, 6), file(model, 5), file(heavier, 6), file(renamed, 6)]
    assert len(set(files)) == len(made) == 4
    with fastast.reduce(model, REDUCTION):
        assert export_to_cache(model, runtime="onnxruntime", folder=tmp_path) == files[0]
    assert len(made) == 4
    assert {path.name for path in (tmp_path / "exported").iterdir()} == {path.parent.name for path in files}
    pytest.importorskip("openvino", reason="openvino is not installed")
    assert export_to_cache(model, REDUCTION, runtime="openvino", folder=tmp_path).is_file()
    assert len(made) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.onnx", None, "there is no such file"),
        ("text.onnx", b"this is no graph", "not an ONNX file"),
        ("alone.xml", b"<net></net>", "alone.bin: there is no such file; .*alone.xml needs it in the same folder"),
    ],
)
def test_a_bad_file_is_named(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert re.search(message, run("predict", EXAMPLE, "-m", tmp_path / name, code=1).replace("\n", ""))


def test_a_file_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "other.onnx")
    assert "it has no metadata 'fastast'" in run("predict", EXAMPLE, "-m", tmp_path / "other.onnx", code=1)


def test_a_runtime_that_does_not_read_the_format_says_which_does(tmp_path: Path, exported) -> None:
    if exported.path.suffix == ".onnx":
        pytest.skip("both runtimes read ONNX")
    with pytest.raises(fastast.ExportError, match=r"onnxruntime reads \.onnx; run it with openvino"):
        fastast.open_exported(exported.path, runtime="onnxruntime")


def test_an_unknown_engine_is_refused() -> None:
    assert "'openvino'" in run("predict", EXAMPLE, "--engine", "openvivo", code=2)


@pytest.mark.parametrize("model", ["ast_tiny_soundscapes", "gone.onnx"])
def test_a_runtime_on_the_cpu_does_not_run_on_a_gpu(model: str) -> None:
    engine = ("--engine", "onnxruntime") if "onnx" not in model else ()
    assert "runs on the CPU" in run("predict", EXAMPLE, "-m", model, "--device", "cuda", *engine, code=1)


def test_int8_needs_a_recipe(checkpoint: Path, tmp_path: Path) -> None:
    said = run("export", checkpoint, "--dtype", "int8", "--out", tmp_path / "small.onnx", code=1)
    assert "--calibrate soundscapes_tiny" in said.replace("\n", " ")


def test_what_a_checkpoint_does_not_say_can_be_said(model, tmp_path: Path) -> None:
    weights, out = tmp_path / "own.pth", tmp_path / "own.onnx"
    names = {"head.norm": "mlp_head.0", "head.linear": "mlp_head.1"}
    state = {f"v.{key}": value for key, value in model.state_dict().items()}
    for own, theirs in names.items():
        state = {key.replace(f"v.{own}", theirs): value for key, value in state.items()}
    torch.save(state, weights)
    refused = run("export", weights, "--out", out, code=1)
    assert "--geometry" in refused
    said = ("num_frames=130", "num_mel_bins=32", "num_heads=2")
    asked = ["export", weights, "--out", out, *(part for text in said for part in ("--geometry", text))]
    assert "--normalisation MEAN,STD" in run(*asked, code=1)
    run(*asked, "--normalisation=-5,4")
    opened = fastast.open_exported(out)
    assert (opened.geometry, opened.normalisation) == (model.geometry, model.normalisation)
    assert opened.metadata.source == "own.pth"
    torch.testing.assert_close(opened(noise(2)), model(noise(2)), rtol=1e-4, atol=1e-5)
