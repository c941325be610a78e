"""The engine `onnxruntime`: ONNX Runtime."""

from __future__ import annotations

from bench.cell.engines.exported import ExportedEngine

ENGINE = ExportedEngine("onnxruntime")
