"""Figures, tables and an HTML page, all computed from records."""

from bench.report.frame import ReportError
from bench.report.render import render

__all__ = ["ReportError", "render"]
