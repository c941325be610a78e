"""Names of files in what must be UTF-8: JSON, Parquet, pictures. CSV and lines on a terminal have their own bytes."""

from __future__ import annotations

import os
from pathlib import Path


def utf8_name(path: str | Path) -> str:
    """Return a path as text; a byte that is not UTF-8 is written as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
