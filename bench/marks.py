"""Generated parts of pages: the text between two marks."""

from __future__ import annotations


def around_marks(page: str, first: str, last: str) -> tuple[str, str] | None:
    """Return a page up to and including the mark `first`, and from the mark `last` after it.

    None unless `first` occurs once and `last` follows; several sections may end with the same mark.
    """
    before, found, rest = page.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed) or first in after:
        return None
    return before + first, last + after
