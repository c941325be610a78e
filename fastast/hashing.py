"""Plain values that identify questions and caches: their hash, and where two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def hash_plain(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values as JSON, regardless of the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differing_values(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], absent: Any = None
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield each place where two nested mappings differ: its keys from the outermost inwards, and both values.

    absent: what stands for the value of a missing key.
    """
    for key in {**mine, **theirs}:
        here, there = mine.get(key, absent), theirs.get(key, absent)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from (((key, *inner), *values) for inner, *values in differing_values(here, there, absent))
        elif here != there:
            yield (key,), here, there
