"""Render observations to figures, each with a sentence, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from bench.report.drawing.files import FORMATS, write_figures
from bench.understanding.figures import axes_figure, silence_figure, similarity_figure
from bench.understanding.merges import merges_figure
from bench.understanding.record import Understanding, read_understanding
from bench.understanding.said import in_percent, observed_facts, sentences
from fastast.reduction import get_method, method_names
from fastast.system.writing import write_whole

FIGURES = {
    "merges": merges_figure,
    "axes": axes_figure,
    "silence": silence_figure,
    "similarity": similarity_figure,
}


def render_understanding(path: Path, out: Path, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Render a file of observations to `out`; return the paths. Raises RecordError for an invalid file."""
    found = read_understanding(path)
    labels = {name: get_method(name).label for name in method_names()}
    drawn = write_figures({name: partial(draw, found, labels) for name, draw in FIGURES.items()}, out, formats=formats)
    written = list(drawn.paths)
    for name, text in (
        ("understanding.csv", table(found).to_csv(index=False, lineterminator="\n")),
        ("understanding.md", _page(found, drawn.reasons)),
    ):
        written.append(out / name)
        write_whole(written[-1], text.encode())
    return written


def table(found: Understanding) -> pd.DataFrame:
    """Return a row per method and block."""
    rows = []
    for one in found.methods:
        for number, block in enumerate(one.blocks, start=1):
            values = block.model_dump()
            for name in ("similarity", "silence_leads"):
                ends = (f"{name}_low", name, f"{name}_high")
                values |= dict(zip(ends, values.pop(name) or (None, None, None), strict=True))
            rows.append({"method": one.method, "schedule": one.schedule, "block": number, **values})
    return pd.DataFrame(rows)


def _page(found: Understanding, reasons: Mapping[str, str]) -> str:
    labels = {name: get_method(name).label for name in method_names()}
    said = sentences(found, labels)
    shown = "\n\n".join(
        f"{said[name]} Not drawn: {reasons[name]}."
        if name in reasons
        else f"![{said[name]}]({name}.svg)\n\n{said[name]}"
        for name in FIGURES
    )
    return (
        f"# What methods merge\n\n{observed_facts(found)}. An event sounds at {in_percent(found.sounding)} of all "
        "patches: what begins or ends within the clip, by the recipe that it was mixed from; a bed under all of it is "
        "none.\n\n"
        f"{shown}\n"
    )
