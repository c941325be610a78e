"""What tells one list of clips from another: their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_ids(ids: Iterable[str]) -> str:
    """Return the SHA-256 of a list of clip ids, one a line."""
    return hashlib.sha256(encode_ids(ids)).hexdigest()


def encode_ids(ids: Iterable[str]) -> bytes:
    """Return a list of clip ids as bytes, one a line.

    Names of files need not be UTF-8: Python reads their other bytes as surrogates, which are kept as such.
    """
    return "\n".join(ids).encode(errors="surrogateescape")


def decode_ids(content: bytes) -> list[str]:
    """Undo `encode_ids`."""
    return content.decode(errors="surrogateescape").split("\n")
