"""Render the records of a sweep of alternatives to tables and figures in its report's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.ablation.classes import class_figure, class_sentence
from bench.ablation.compare import ComparedAlternatives, compare_alternatives
from bench.ablation.figure import facets
from bench.ablation.published import hash_of_records
from bench.records.schema import Record
from bench.report.drawing.files import FORMATS, write_figures
from bench.report.frame import MEASURED
from bench.report.tables.markdown import in_markdown
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_ablation(
    results: Path,
    out: Path,
    *,
    sweep: str,
    formats: tuple[str, ...] = FORMATS,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> list[Path]:
    """Write `ablation.md`, `ablation.tex`, `ablation.csv` and figures to `out/<sweep>/`; return the paths.

    The figures are `fronts.*`, of alternatives with speeds, and `classes.*`, of average precision by class. Every
    machine and model has its own tables and figures; from the second on, names of figures end in a number. `labels` of
    the clips, (n, c), and the names of `classes` are read from the data set unless given. Raises ReportError if there
    are no records, or alternatives cannot be compared.
    """
    folder = out / sweep
    texts: list[str] = []
    tables = ["% Made from records; do not edit. Needs \\usepackage{booktabs}."]
    written: list[Path] = []
    comparisons = compare_alternatives(results, sweep, labels=labels, classes=classes)
    for number, one in enumerate(comparisons, start=1):
        end = "" if number == 1 else f"_{number}"
        where, about = one.facts.where, one.facts.about
        tables += [table.latex(where, f"tab:{sweep}-{number}-{i}", about) for i, table in enumerate(one.tables, 1)]
        parts = [f"## {one.name}", *(table.markdown() for table in one.tables)]
        figures = {f"{name}{end}": (said, draw) for name, said, draw in _figures(one)}
        drawn = write_figures({name: draw for name, (_, draw) in figures.items()}, folder, formats=formats)
        parts += [f"![{said}]({name}.svg)\n\n{said}" for name, (said, _) in figures.items() if name in drawn.svgs]
        written += drawn.paths
        texts.append("\n\n".join(filter(None, [*parts, in_markdown(f"{where}. {about}"), _left_out(one.records)])))
    for old in {*folder.glob("fronts_*"), *folder.glob("classes_*")} - set(written):
        old.unlink()  # of a machine whose records are gone
    frame = pd.concat([one.numbers for one in comparisons]).assign(records=hash_of_records(results, sweep))
    page = f"# {sweep}\n\n" + "\n\n".join(texts) + "\n"
    csv = frame.to_csv(index=False, lineterminator="\n")
    for name, text in (("ablation.tex", "\n".join(tables)), ("ablation.md", page), ("ablation.csv", csv)):
        write_whole(folder / name, text.encode())
        written.append(folder / name)
    return written


def _figures(one: ComparedAlternatives) -> list[tuple[str, str, Callable[[], Figure]]]:
    """Return name, caption and drawing function of every figure."""
    found, reference, notes = one.found, one.found.reference.name, (one.facts.where, one.facts.about.removesuffix("."))
    fronts = f"What each alternative loses for its speed-up, beside {reference} (dashed) and all others (grey)."
    lost = "" if one.classes.empty else class_sentence(one.classes, reference)
    return [
        ("fronts", fronts, _nothing if found.is_one_axis else lambda: facets(found, one.word, *notes)),
        ("classes", lost, _nothing if one.classes.empty else lambda: class_figure(one.classes, reference, *notes)),
    ]


def _nothing() -> Figure:
    """Raise ValueError in place of a figure of one axis, or of classes without changes."""
    raise ValueError("there is nothing to draw")


def _left_out(records: Sequence[Record]) -> str:
    """Return how many records the tables leave out, and whether there are no speeds at all."""
    timed = [record for record in records if record.cell.kind == "performance"]
    disturbed = sum(record.status == "disturbed" for record in timed)
    failed = sum(record.status not in MEASURED for record in records)
    said = []
    if disturbed:
        verbs = ("was", "has") if disturbed == 1 else ("were", "have")
        said.append(f"{disturbed} of {len(timed)} speeds {verbs[0]} disturbed and {verbs[1]} no part in this.")
    if failed:
        said.append(f"{failed} of {len(records)} records failed: python -m bench report names them.")
    if not timed or disturbed == len(timed):
        said.append("There is no speed to compare.")
    return " ".join(said)
