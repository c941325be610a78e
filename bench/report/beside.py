"""What `bench ablation` has put into a report's folder, for the page to show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.report.drawing.style import SPLIT

FILES = ("ablation.md", "ablation.csv", "ablation.tex")
"""Its texts; the first one names its figures and says what they show."""
FRONTS = "fronts"
"""Its figure with a panel for every alternative."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Files of a folder that a report did not write."""

    figures: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """SVG and caption of every figure, by the name of its file."""
    files: tuple[str, ...] = ()
    """Names of the others."""

    def instead(self, reason: str) -> str:
        """Return why a figure was not drawn; for too many series, with the figure that has a panel for each."""
        if FRONTS not in self.figures or not reason.endswith(SPLIT):
            return reason
        return f"{reason.removesuffix(SPLIT)}see {FRONTS}, above, which has a panel for each alternative"


NOTHING = Beside()


def beside_report(folder: Path) -> Beside:
    """Return what is there of a folder's comparison of alternatives; nothing where it has none."""
    files = tuple(name for name in FILES if (folder / name).is_file())
    if FILES[0] not in files:
        return NOTHING
    text = (folder / FILES[0]).read_text(encoding="utf-8")
    figures = {}
    for caption, name in re.findall(r"^!\[(.*)\]\((\w+)\.svg\)$", text, re.MULTILINE):
        if (folder / f"{name}.svg").is_file():
            figures[name] = ((folder / f"{name}.svg").read_text(encoding="utf-8"), caption)
    return Beside(figures=figures, files=files)
