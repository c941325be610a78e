"""Tables in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[int] = (0,)) -> str:
    """Return a table. `words`: indices of columns of text, which are aligned left; numbers are aligned right."""
    lines = [heads, *rows]
    rule = "".join("---|" if column in words else "---:|" for column in range(len(heads)))
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{rule}", *body])
