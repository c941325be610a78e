"""Write figures to files: the same bytes for the same records."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.drawing.style import METADATA, paper_style
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters except line breaks and tabs, and characters that change the direction of text."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Outcome of drawing some figures."""

    paths: tuple[Path, ...]
    """Files that were written."""
    svgs: Mapping[str, str]
    """SVG of every figure that could be drawn, by its name, whatever formats were requested."""
    reasons: Mapping[str, str]
    """Why the other figures could not be drawn, by name."""


def write_figures(
    draws: Mapping[str, Callable[[], Figure]], folder: Path, *, formats: Sequence[str] = FORMATS
) -> Drawn:
    """Draw figures and write each to `folder` as `NAME.FORMAT`.

    A figure whose function raises ValueError cannot be drawn from these records; it is left out, and the message is its
    reason. Files of an earlier report that are not overwritten are deleted, as they would pass for this report's.
    """
    import matplotlib.pyplot as plt

    paths, svgs, reasons = [], {}, {}
    with paper_style():
        for name, draw in draws.items():
            try:
                figure = draw()
            except ValueError as error:
                reasons[name] = str(error)
                _forget(folder, name, FORMATS)
                continue
            files = {form: figure_file(figure, form) for form in dict.fromkeys((*formats, "svg"))}
            plt.close(figure)
            svgs[name] = files["svg"].decode()
            _forget(folder, name, set(FORMATS) - set(formats))
            for form in formats:
                paths.append(folder / f"{name}.{form}")
                write_whole(paths[-1], files[form])
    return Drawn(paths=tuple(paths), svgs=svgs, reasons=reasons)


def _forget(folder: Path, name: str, formats: Iterable[str]) -> None:
    for form in formats:
        (folder / f"{name}.{form}").unlink(missing_ok=True)


def figure_file(figure: Figure, form: str) -> bytes:
    """Return the bytes of a figure's file. Text in SVG stays text, in the first available font as wide as DejaVu."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=METADATA[form])
    content = buffer.getvalue()
    if form != "svg":
        return content
    content = printable(content.decode()).encode()
    return content.replace(b"font-family: 'DejaVu Sans'", b"font-family: 'DejaVu Sans', Verdana, Arial, sans-serif")


def printable(text: str) -> str:
    """Replace characters with which a file name could control a terminal or reverse the text around it."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
