"""The formats of exported files, and how each carries its metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastast.checkpoints.targets import check_model_target
from fastast.exporting.errors import ExportError, require
from fastast.exporting.metadata import ENTRY, ExportMetadata
from fastast.names import unknown_name
from fastast.system.writing import sync

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format."""

    name: str
    """Name on the command line."""
    suffixes: tuple[str, ...]
    """Endings of its files: first that of the file which is given by name, then those of the files that go with it."""
    write: Callable[[ModelProto, ExportMetadata, Path], None]
    """Write a graph with its metadata."""
    read_entry: Callable[[Path], str]
    """Return the metadata's text, empty if there is none."""
    runtimes: tuple[str, ...]
    """Names of the runtimes that can run it; by default the first that is installed is used."""

    def files(self, path: Path) -> list[Path]:
        """Return all files of the export at `path`, with `path` itself last."""
        return [path.with_suffix(suffix) for suffix in reversed(self.suffixes)]

    def check_files(self, path: Path, models: Iterable[str | Path] = ()) -> None:
        """Raise ValueError, before any work is done, if writing `path` would overwrite somebody's file.

        Such a file is one that `models` consist of, or one next to `path` that belongs to no exported model: the user
        has named only `path` itself.
        """
        for target in self.files(path):
            check_model_target(target, models)
            if target != path and target.exists() and not path.exists():
                raise ExportError(
                    f"{target}: exists without {path.name}, so it belongs to something else, and it would be replaced; "
                    "name another file, or move it away"
                )

    def move(self, source: Path, path: Path) -> None:
        """Move files into place, so that the file given by name is never next to files of another export."""
        for mine in self.files(source):
            sync(mine)
        if len(self.suffixes) > 1:
            path.unlink(missing_ok=True)
        for mine, theirs in zip(self.files(source), self.files(path), strict=True):
            os.replace(mine, theirs)
        sync(path.parent)


def _write_onnx(graph: ModelProto, metadata: ExportMetadata, path: Path) -> None:
    import onnx

    onnx.helper.set_model_props(graph, {ENTRY: metadata.to_json()})
    onnx.save_model(graph, path)


def _read_onnx_entry(path: Path) -> str:
    require("onnx", extra="onnxruntime", purpose=f"reading {path}")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise ExportError(f"{path}: not an ONNX file ({error})") from error
    return next((entry.value for entry in graph.metadata_props if entry.key == ENTRY), "")


def _write_openvino(graph: ModelProto, metadata: ExportMetadata, path: Path) -> None:
    require("openvino", extra="openvino", purpose="the format openvino")
    import openvino

    from fastast.exporting.openvino_session import read_graph

    between = path.with_suffix(".onnx")
    _write_onnx(graph, metadata, between)
    model = read_graph(between)
    model.set_rt_info(metadata.to_json(), ENTRY)
    openvino.save_model(model, str(path), compress_to_fp16=False)
    between.unlink()


def _read_openvino_entry(path: Path) -> str:
    require("openvino", extra="openvino", purpose=f"reading {path}")
    from fastast.exporting.openvino_session import read_graph

    model = read_graph(path)
    return str(model.get_rt_info(ENTRY).astype(str)) if model.has_rt_info(ENTRY) else ""


FORMATS = {
    "onnx": Format(
        name="onnx",
        suffixes=(".onnx",),
        write=_write_onnx,
        read_entry=_read_onnx_entry,
        runtimes=("onnxruntime", "openvino"),
    ),
    "openvino": Format(
        name="openvino",
        suffixes=(".xml", ".bin"),
        write=_write_openvino,
        read_entry=_read_openvino_entry,
        runtimes=("openvino",),
    ),
}
"""All formats by name."""


def find_format(name: str, path: Path) -> Format:
    """Return the format called `name`. Raises ExportError for an unknown name, or a path with another ending."""
    if name not in FORMATS:
        raise ExportError(f"export: {unknown_name('format', name, FORMATS)}")
    found = FORMATS[name]
    if path.suffix != found.suffixes[0]:
        other = format_of(path)
        way = "" if other is None else f", or give --format {other.name}"
        raise ExportError(f"{path}: the name of a file in format {name} must end in {found.suffixes[0]}{way}")
    return found


def is_exported(path: str | Path) -> bool:
    """Return whether a path has the ending of an exported file."""
    return format_of(Path(path)) is not None


def format_of(path: Path) -> Format | None:
    """Return the format that a path's ending belongs to, or None."""
    return next((found for found in FORMATS.values() if path.suffix == found.suffixes[0]), None)


def read_metadata(path: Path) -> ExportMetadata:
    """Return an exported file's metadata. Raises ExportError if it does not exist or FastAST did not export it."""
    found = format_of(path)
    if found is None:
        endings = " or ".join(one.suffixes[0] for one in FORMATS.values())
        raise ExportError(f"{path}: the name of an exported model ends in {endings}")
    for part in found.files(path):
        if not part.is_file():
            beside = f"; {path} needs it in the same folder" if part != path else ""
            raise ExportError(f"{part}: there is no such file{beside}")
    entry = found.read_entry(path)
    if not entry:
        raise ExportError(
            f"{path}: it has no metadata {ENTRY!r}, so labels, front end and schedule are unknown; "
            "export the model with fastast export"
        )
    return ExportMetadata.from_json(path, entry)
