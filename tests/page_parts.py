"""Parts of pages that a command writes: what stands between two marks."""

from __future__ import annotations

from pathlib import Path


def write_part(page: Path, name: str, text: str) -> None:
    """Write `text` between the marks `<!-- NAME: ... -->` and `<!-- end of NAME -->` of a page, each on its line.

    Raises ValueError where the page does not have them once.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name}: ")
    said, ended, rest = rest.partition(" -->\n")
    _, closed, after = rest.partition(f"<!-- end of {name} -->\n")
    if not (found and ended and closed):
        raise ValueError(f"{page}: has no part {name}, between <!-- {name}: ... --> and <!-- end of {name} -->")
    page.write_text(f"{before}{found}{said}{ended}{text}{closed}{after}", encoding="utf-8")
