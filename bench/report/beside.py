"""Files that `bench ablation` wrote into a report's folder, which the page shows too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.report.drawing.style import SPLIT

FILES = ("ablation.md", "ablation.csv", "ablation.tex")
"""Names of its text files; the first one refers to its figures, with their captions."""
FRONTS = "fronts"
"""Name of its figure that has a panel for every alternative."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Files of a report's folder that the report did not write."""

    figures: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """SVG and caption of every figure, by file name without suffix."""
    files: tuple[str, ...] = ()
    """Names of the text files."""

    def instead(self, reason: str) -> str:
        """Return why a figure was not drawn; if it has too many series, point to the figure with a panel for each."""
        if FRONTS not in self.figures or not reason.endswith(SPLIT):
            return reason
        return f"{reason.removesuffix(SPLIT)}see {FRONTS}, above, which has a panel for each alternative"


NOTHING = Beside()


def beside_report(folder: Path) -> Beside:
    """Return the files of a folder's comparison of alternatives, `NOTHING` if it has none."""
    files = tuple(name for name in FILES if (folder / name).is_file())
    if FILES[0] not in files:
        return NOTHING
    text = (folder / FILES[0]).read_text(encoding="utf-8")
    figures = {}
    for caption, name in re.findall(r"^!\[(.*)\]\((\w+)\.svg\)$", text, re.MULTILINE):
        if (folder / f"{name}.svg").is_file():
            figures[name] = ((folder / f"{name}.svg").read_text(encoding="utf-8"), caption)
    return Beside(figures=figures, files=files)
