"""Figures, tables and a page, all of them functions of records."""

from bench.report.render import ReportError, render

__all__ = ["ReportError", "render"]
