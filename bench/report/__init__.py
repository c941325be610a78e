"""Figures, tables and a page, all of them functions of records."""

from bench.report.frame import ReportError
from bench.report.render import render

__all__ = ["ReportError", "render"]
