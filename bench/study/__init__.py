"""Studies: trainings with several seeds, their results, and how certain these are."""

from __future__ import annotations

from pathlib import Path

RUNS, PUBLISHED = Path("build/studies"), Path("results/studies")
"""Default folders of trainings and of what is published from them."""
