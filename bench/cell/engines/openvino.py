"""The engine `openvino`: OpenVINO."""

from __future__ import annotations

from bench.cell.engines.exported import ExportedEngine

ENGINE = ExportedEngine("openvino")
