"""Studies: trainings under several seeds, what they give, and how sure that is."""

from __future__ import annotations

from pathlib import Path

RUNS, PUBLISHED = Path("build/studies"), Path("results/studies")
"""The usual folders of trainings, and of what is published of them."""
