"""Generated parts of pages: the text between two marks."""

from __future__ import annotations


def around_marks(page: str, first: str, last: str) -> tuple[str, str] | None:
    """Return a page up to and with its first mark, and from its last one on; None unless each is there, once."""
    before, found, rest = page.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed) or first in after:
        return None
    return before + first, last + after
