"""Parts of pages that a command writes: what stands between two marks."""

from __future__ import annotations

import re
from pathlib import Path

from bench.marks import around_marks


def write_part(page: Path, name: str, text: str) -> None:
    """Write `text` between the marks `<!-- NAME: ... -->` and `<!-- end of NAME -->` of a page, each on its line.

    Raises ValueError where the page does not have them once.
    """
    old = page.read_text(encoding="utf-8")
    first = re.search(rf"<!-- {re.escape(name)}: .*? -->\n", old)
    around = around_marks(old, first.group(), f"<!-- end of {name} -->\n") if first else None
    if around is None:
        raise ValueError(f"{page}: has no part {name}, between <!-- {name}: ... --> and <!-- end of {name} -->")
    page.write_text(text.join(around), encoding="utf-8")
