"""What tells one list of clips from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_ids(ids: Iterable[str]) -> str:
    """Return the SHA-256 of a list of clip ids, one a line."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
