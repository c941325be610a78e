"""Exported files that are made once and kept, for commands that ask for a runtime by name.

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
"""What of a package decides on a graph: its code, and what `dtem` has learned to compare tokens by."""
_TRANSLATORS = ("timm", "onnx", "onnx-ir", "onnxscript")
"""Packages that make a graph of a model, beside PyTorch."""


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
    """Return the file of a model in memory that `runtime` is best at, exported unless it is in the cache already.

    Its name is the hash of all that the file depends on: weights, reduction, dtype, calibration (k, f, m), front end,
    the code of FastAST and of a method that another package brings, and the versions of what translates. A model whose
    modules were changed (another activation, a method of its own, hooks) and a method without a source file, as one
    typed into a session, are exported anew every time: nothing says what they compute. folder: of the cache, FastAST's
    own where not given. say: is told where it has to be exported. Arguments and errors are those of `fastast.export`.
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
        say(f"exporting the model for {runtime}, once: it is kept in {cached}")
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
            if not path.is_file():  # else another process was faster: its file is the same
                raise
    return path


def _translate(model: AudioSpectrogramTransformer, path: Path) -> ModelProto:
    """Return the graph of a model, which several files are made of: to translate it takes longest."""
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
    """Return the hash of a method's code: of its package, or of its file; empty for FastAST's own."""
    choose = get_method(name).choose
    if not hasattr(choose, "__qualname__"):  # of functools.partial, whose module is not where its code is
        return uuid4().hex
    package = str(choose.__module__).partition(".")[0]
    if package == fastast.__name__:
        return ""
    file = getattr(sys.modules.get(choose.__module__), "__file__", None)
    if file is None:
        return uuid4().hex
    roots = getattr(sys.modules.get(package), "__path__", ())
    return " ".join([_hash_code(Path(root)) for root in roots] or [hashlib.sha256(Path(file).read_bytes()).hexdigest()])
