"""The hash of plain values, which identifies questions and caches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def hash_plain(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values as JSON, regardless of the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
