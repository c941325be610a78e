"""Records of a sweep of alternatives -> tables and figures in its report's folder."""

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
from bench.report.frame import MEASURED
from bench.report.render import FORMATS, figure_file
from bench.report.style import paper_style
from fastast.writing import write_whole

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
    """Write `ablation.md`, `ablation.csv` and figures to `out/<sweep>/`; return the paths.

    The figures are `fronts.*`, of alternatives with speeds, and `classes.*`, of average precision by class. Every
    machine and model has its own tables; the first one's figures are drawn, and others' beside it with a number.
    `labels` of the clips, (n, c), and the names of `classes` are read from the data set where not given. Raises
    ReportError for no records, or alternatives that cannot be compared.
    """
    folder, texts, written = out / sweep, [], []
    comparisons = compare_alternatives(results, sweep, labels=labels, classes=classes)
    for number, one in enumerate(comparisons, start=1):
        end = "" if number == 1 else f"_{number}"
        parts = [f"## {one.name}", *(table.markdown() for table in one.tables)]
        for name, said, draw in _figures(one):
            drawn = _drawn(draw, formats)
            for form in formats:  # one of an earlier report would pass for one of this
                path = folder / f"{name}{end}.{form}"
                if drawn is None:
                    path.unlink(missing_ok=True)
                    continue
                write_whole(path, drawn[form])
                written.append(path)
            if drawn is not None:
                parts.append(f"![{said}]({name}{end}.svg)\n\n{said}")
        texts.append("\n\n".join(filter(None, [*parts, _left_out(one.records)])))
    frame = pd.concat([one.numbers for one in comparisons]).assign(records=hash_of_records(results, sweep))
    page = f"# {sweep}\n\n" + "\n\n".join(texts) + "\n"
    for name, text in (("ablation.md", page), ("ablation.csv", frame.to_csv(index=False, lineterminator="\n"))):
        write_whole(folder / name, text.encode())
        written.append(folder / name)
    return written


def _figures(one: ComparedAlternatives) -> list[tuple[str, str, Callable[[], Figure] | None]]:
    """Return name, sentence and drawing of every figure; None where there is nothing to draw."""
    found, reference = one.found, one.found.reference.name
    fronts = f"What each alternative loses for its speed-up, beside {reference} (dashed) and all others (grey)."
    lost = "" if one.classes.empty else class_sentence(one.classes, reference)
    return [
        ("fronts", fronts, None if found.is_one_axis else lambda: facets(found, one.word)),
        ("classes", lost, None if one.classes.empty else lambda: class_figure(one.classes, reference)),
    ]


def _drawn(draw: Callable[[], Figure] | None, formats: tuple[str, ...]) -> dict[str, bytes] | None:
    """Return a figure as files; None for one of quality alone, where the tables say what was not measured."""
    if draw is None:
        return None
    with paper_style():
        import matplotlib.pyplot as plt

        try:
            figure = draw()
        except ValueError:
            return None
        drawn = {form: figure_file(figure, form) for form in formats}
        plt.close(figure)
    return drawn


def _left_out(records: Sequence[Record]) -> str:
    """Say which records have no part in the tables, and that there are no speeds where there are none."""
    timed = [record for record in records if record.cell.kind == "performance"]
    disturbed = sum(record.status == "disturbed" for record in timed)
    failed = sum(record.status not in MEASURED for record in records)
    said = []
    if disturbed:
        said.append(f"{disturbed} of {len(timed)} speeds were disturbed and have no part in this.")
    if failed:
        said.append(f"{failed} of {len(records)} records failed: python -m bench report names them.")
    if not timed or disturbed == len(timed):
        said.append("There is no speed to compare.")
    return " ".join(said)
