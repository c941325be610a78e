"""Figures are drawn without a display."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
