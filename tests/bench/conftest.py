"""Figures are drawn without a display; this file also puts the shared runners of this folder on the path."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
