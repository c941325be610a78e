"""Identity of a list of clips: a hash of their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_ids(ids: Iterable[str]) -> str:
    """Return the SHA-256 of a list of clip ids, one per line."""
    return hashlib.sha256(encode_ids(ids)).hexdigest()


def encode_ids(ids: Iterable[str]) -> bytes:
    """Return a list of clip ids as bytes, one per line.

    File names need not be UTF-8: Python represents other bytes by surrogates, which become the original bytes again.
    """
    return "\n".join(ids).encode(errors="surrogateescape")


def decode_ids(content: bytes) -> list[str]:
    """Return the clip ids in bytes of `encode_ids`."""
    return content.decode(errors="surrogateescape").split("\n")
