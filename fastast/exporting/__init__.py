"""Export a model, merged or not, as a file for other runtimes: ONNX or OpenVINO's intermediate representation.

`export` writes a file and keeps it only if its logits agree with PyTorch's; `open_exported` opens one to run it. Names
are imported on first use, so that the command line can print its help without loading PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "ExportError": "fastast.exporting.errors",
    "ExportMetadata": "fastast.exporting.metadata",
    "ExportedModel": "fastast.exporting.exported",
    "MissingRuntimeError": "fastast.exporting.errors",
    "RUNTIMES": "fastast.exporting.runtimes",
    "export": "fastast.exporting.exporter",
    "export_to_cache": "fastast.exporting.cache",
    "is_exported": "fastast.exporting.formats",
    "open_exported": "fastast.exporting.exported",
}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fastast.exporting' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


if TYPE_CHECKING:
    from fastast.exporting.cache import export_to_cache as export_to_cache
    from fastast.exporting.errors import ExportError as ExportError
    from fastast.exporting.errors import MissingRuntimeError as MissingRuntimeError
    from fastast.exporting.exported import ExportedModel as ExportedModel
    from fastast.exporting.exported import open_exported as open_exported
    from fastast.exporting.exporter import export as export
    from fastast.exporting.formats import is_exported as is_exported
    from fastast.exporting.metadata import ExportMetadata as ExportMetadata
    from fastast.exporting.runtimes import RUNTIMES as RUNTIMES
