"""Cache of exported files, for commands that name a runtime: each file is made once and kept.

Shapes: `k` clips, `f` frames, `m` mel bins.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import torch
from torch import Tensor

import fastast
from fastast.data.soundscapes.cache import default_folder
from fastast.exporting.exporter import export, hash_clips
from fastast.exporting.formats import FORMATS
from fastast.exporting.graph import onnx_graph
from fastast.exporting.metadata import Number, hash_weights
from fastast.exporting.runtimes import RUNTIMES
from fastast.hashing import hash_plain
from fastast.hosts.native import NativeHost
from fastast.reduction import TokenReduction, get_method
from fastast.system.writing import place_whole, write_whole

if TYPE_CHECKING:
    from onnx import ModelProto

    from fastast.frontend import Normalisation
    from fastast.model import AudioSpectrogramTransformer


_CODE = ("*.py", "*.merging.safetensors")
"""Files of a package that determine a graph: its code, and the metric that `dtem` has learned to compare tokens by."""
_TRANSLATORS = ("timm", "onnx", "onnx-ir", "onnxscript")
"""Packages, besides PyTorch, that take part in translating a model to a graph."""


def export_to_cache(
    model: AudioSpectrogramTransformer,
    reduction: TokenReduction | None = None,
    *,
    runtime: str,
    dtype: Number = "float32",
    calibration: Tensor | None = None,
    normalisation: Normalisation | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Return a file of a model in memory in the format that is best for `runtime`, exporting it if it is not cached.

    The file's folder is named by a hash of everything the file depends on: weights, reduction, dtype, calibration
    (k, f, m), front end, the code of FastAST and of a method from another package, and the versions of the packages
    that translate. A model whose modules were changed (another activation, an overridden method, hooks) and a method
    without a source file, such as one typed into a session, are exported again every time, as nothing says what they
    compute. folder: that of the cache; by default FastAST's own. say: called with a message if the model has to be
    exported. The other arguments and the errors are those of `fastast.export`.
    """
    chosen = RUNTIMES.get(runtime)
    chosen.require()
    form = FORMATS[chosen.formats[0]]
    asked = reduction if reduction is not None or model.attached is None else model.attached.reduction
    cached = (folder or default_folder()) / "exported"
    graph = {
        "weights": hash_weights(model),
        "modules": uuid4().hex if NativeHost(model).packable() else repr(model),
        "geometry": repr(model.geometry),
        "reduction": repr(asked),
        "code": _hash_code(Path(fastast.__file__).parent),
        "method": "" if asked is None else _hash_method(asked.method),
        "versions": [torch.__version__, *map(_version, _TRANSLATORS)],
    }
    file = graph | {
        "format": form.name,
        "runtime": _version(chosen.name),
        "labels": model.labels,
        "loss": model.loss,
        "normalisation": repr(normalisation or model.normalisation),
        "dtype": dtype,
        "calibration": None if calibration is None else hash_clips(calibration),
    }
    key = _hash(file)
    place = cached / key
    path = place / f"model{form.suffixes[0]}"
    if path.is_file():
        return path
    if say is not None:
        say(f"exporting the model for {runtime}; this happens once, as the file is kept in {cached}")
    cached.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{key}.", dir=cached) as mine:
        export(
            model,
            Path(mine) / "whole" / path.name,
            format=form.name,
            reduction=reduction,
            dtype=dtype,
            calibration=calibration,
            normalisation=normalisation,
            translate=partial(_translate, path=cached / f"{_hash(graph)}.graph"),
        )
        try:
            place_whole(Path(mine) / "whole", place)
        except OSError:
            if not path.is_file():  # otherwise another process was faster, and its file is the same
                raise
    return path


def _translate(model: AudioSpectrogramTransformer, path: Path) -> ModelProto:
    """Return the graph of a model, kept at `path`: several files are made from it, and translating takes longest."""
    import onnx

    if path.is_file():
        return onnx.load_model(path, format="protobuf")
    graph = onnx_graph(model)
    write_whole(path, graph.SerializeToString())
    return graph


def _hash(question: Mapping[str, object]) -> str:
    return hash_plain(question)[:20]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hash_code(root: Path) -> str:
    digest = hashlib.sha256()
    files = [path for pattern in _CODE for path in root.rglob(pattern)]
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _hash_method(name: str) -> str:
    """Return a hash of the code of a method's package, or of its file; empty for FastAST's own methods."""
    choose = get_method(name).choose
    if not hasattr(choose, "__qualname__"):  # a functools.partial, whose module is not where its code is
        return uuid4().hex
    package = str(choose.__module__).partition(".")[0]
    if package == fastast.__name__:
        return ""
    file = getattr(sys.modules.get(choose.__module__), "__file__", None)
    if file is None:
        return uuid4().hex
    roots = getattr(sys.modules.get(package), "__path__", ())
    return " ".join([_hash_code(Path(root)) for root in roots] or [hashlib.sha256(Path(file).read_bytes()).hexdigest()])
