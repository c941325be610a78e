"""File names in output that must be UTF-8: JSON, Parquet, pictures. CSV and terminal lines keep the original bytes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Surrogates that Python puts in place of bytes that are not UTF-8."""


def utf8_name(path: str | Path) -> str:
    """Return a path as text; a byte that is not UTF-8 is escaped, for example as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def utf8_json(value: Any) -> str:
    """Return plain values as one line of JSON, with file names escaped as by `utf8_name`."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_UTF8.sub(lambda byte: rf"\\x{ord(byte[0]) - 0xDC00:02x}", text)
