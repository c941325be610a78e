"""How a LaTeX table (booktabs) fits a page: the width of names, aligned numbers, and long tables in parts.

The page is that of LaTeX's own `article` in two columns, which is smaller than those of most conferences.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import pandas as pd

WIDTH = 469.0
"""Width of both columns, pt."""
_LINES = 43
"""Lines of rows and caption that fit on a page."""
_CAPTION_LETTERS = 100
"""Letters on a line of a caption."""
_GAP = 2.7
"""Half the distance between columns, pt."""
_CAPTION = "\\setlength{\\belowcaptionskip}{4pt}"
"""Space below the caption: the usual classes leave none between a caption and the table below it."""
_ROWS = f"\\footnotesize\\setlength{{\\tabcolsep}}{{{_GAP}pt}}\\renewcommand{{\\arraystretch}}{{1.2}}"
"""Columns closer than usual, and rows further apart, as the ends of intervals are stacked."""
_DAGGER = 4.0
"""Width of the dagger behind a name, pt."""
_HANGING = re.compile(r"\$_\{|\$\^\{\\bigtriangle")
"""Where the index of a number begins, or the mark behind it."""


def booktabs(
    text: pd.DataFrame, forms: Sequence[str], *, caption: str, label: str, most_lines: int | None = None
) -> str:
    """Return a table of LaTeX cells, as wide as a page of two columns; `caption` is LaTeX, `forms` are of its columns.

    A table of more than `most_lines`, which would not fit on a page, is split into tables of about the same length,
    each of which begins with a row that has a name. By default, they are those that the caption leaves.
    """
    most = most_lines or _LINES - math.ceil(len(caption) / _CAPTION_LETTERS)
    text = text.reset_index(drop=True)
    names = text.iloc[:, 0]
    lines = names.str.count(r"\\\\ ") + 1
    begins = (lines.cumsum() - lines)[names != ""]
    parts = math.ceil(lines.sum() / most)
    starts = [int((begins - part * lines.sum() / parts).abs().idxmin()) for part in range(1, parts)]
    title = f"{caption.partition('. ')[0]}, continued."
    pages = [text.iloc[start:end] for start, end in itertools.pairwise([0, *starts, len(text)])]
    captions = [caption, *[title] * (len(pages) - 1)]
    labels = [label, *(f"{label}-{number}" for number in range(2, len(pages) + 1))]
    return "".join(_float(*page, forms) for page in zip(pages, captions, labels, strict=True))


def _float(text: pd.DataFrame, caption: str, label: str, forms: Sequence[str]) -> str:
    text, form = aligned(text, forms)
    body = text.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=f"@{{}}{form}@{{}}",
        caption=caption,
        label=label,
        position="t",
        position_float="centering",
    )
    body = body.replace("{table}", "{table*}").replace("\\caption", f"{_CAPTION}\n\\caption", 1)
    return body.replace("\\begin{tabular}", f"{_ROWS}\n\\begin{{tabular}}", 1)


def aligned(text: pd.DataFrame, forms: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Return a table in which the last digits of a column stand below each other, and the form of all its columns.

    What hangs behind a number, an index or a mark, gets a column of its own; words and the head span both.
    """
    columns, heads, found = [], [], []
    for place, form in enumerate(forms):
        cells, head = text.iloc[:, place], str(text.columns[place])
        if form == "r" and cells.str.contains(_HANGING).any():
            spans = "r@{}" if place == len(forms) - 1 else "r"
            cells = cells.map(lambda cell, spans=spans: _in_two(cell, spans))
            head, form = f"\\multicolumn{{2}}{{{spans}}}{{{head}}}", "r@{}l"
        columns.append(cells)
        heads.append(head)
        found.append(form)
    return pd.concat(columns, axis=1).set_axis(heads, axis=1), "".join(found)


def _in_two(cell: str, spans: str) -> str:
    if cell[:1].isalpha():
        return f"\\multicolumn{{2}}{{{spans}}}{{{cell}}}"
    hanging = _HANGING.search(cell)
    at = hanging.start() if hanging else len(cell)
    return f"{cell[:at]} & {cell[at:]}".rstrip()


def room_for_names(text: pd.DataFrame) -> float:
    """Return the width that all other columns of a table leave for its first, pt. Cells and heads are plain text."""
    widths = [max(map(_width, [str(head), *text[head]])) + 2 * _GAP for head in text.columns[1:]]
    return WIDTH - _DAGGER - _GAP - sum(widths)


def in_lines(name: str, room: float) -> list[str]:
    """Return the lines of a name that breaks after commas wherever it would be wider than `room`, pt."""
    lines: list[str] = []
    for part in name.split(", "):
        if lines and _width(f"{lines[-1]}, {part},") <= room:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return [f"{line}," for line in lines[:-1]] + lines[-1:]


def above_each_other(lines: Sequence[str], mark: str = "") -> str:
    """Return lines of LaTeX as one cell, with a mark behind the last."""
    text = "\\\\ ".join(lines) + mark
    return text if len(lines) == 1 else f"\\begin{{tabular}}{{@{{}}l@{{}}}}{text}\\end{{tabular}}"


def _width(text: str) -> float:
    """Return about how wide text is in Computer Modern at 8 pt, with the ends of an interval above each other, pt."""
    if found := re.fullmatch(r"(.*\S) \[(\S+), (\S+)\](.*)", text):
        value, low, high, mark = found.groups()
        return _width(value + mark) + 0.86 * max(_width(low), _width(high))
    narrow, wide = (sum(letter in letters for letter in text) for letters in ("fijlt,.:;'()I ", "mwMW"))
    capitals = sum(letter.isupper() and letter not in "IMW" for letter in text)
    return 2.7 * narrow + 7.0 * wide + 6.1 * capitals + 4.3 * (len(text) - narrow - wide - capitals)
