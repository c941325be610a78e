"""All that is published, rendered from `results`: every sweep, every study, README, claims, and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.ablation.overview import update_overview
from bench.ablation.published import PREFIX
from bench.ablation.render import render_ablation
from bench.claims.check import update_claims
from bench.gpu.counted import COUNTED, counted_csv
from bench.page.render import render_page
from bench.records.schema import Record
from bench.records.store import read_records
from bench.report.files import write_figures
from bench.report.frame import join
from bench.report.published import published_frame
from bench.report.published_models import DATASET, drawn_models, published_figure
from bench.report.readme import update_readme
from bench.report.render import ReportError
from bench.report.render import render as render_report
from bench.tuning.published import FOLDER as TUNING
from bench.tuning.published import render_tunings
from bench.understanding.command import FOLDER as UNDERSTANDING
from bench.understanding.render import render_understanding
from fastast.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

README_SWEEP = "default"
"""Sweep whose figures and table stand in README."""
PAGE = "build/page.html"
"""The page to explore all records in; not committed, as its library alone has megabytes."""


def render_everything(root: Path, *, say: Callable[[str], object] = print) -> None:
    """Render `root/reports`, the numbers of the documents and the page from `root/results`.

    Raises ReportError where there is no result, ClaimError where a sentence no longer holds.
    """
    from bench.study.report import write_study_report
    from bench.study.study_file import load_study

    results, reports = root / "results", root / "reports"
    records = read_records(results) if results.is_dir() else []
    sweeps = sorted({record.sweep for record in records})
    if not sweeps:
        raise ReportError(f"report: no records in {results}")
    for name in sweeps:
        if not ((reports / name).is_dir() or name == README_SWEEP or name.startswith(PREFIX)):
            continue
        render_report(results, reports, sweep=name)
        if name.startswith(PREFIX):
            render_ablation(results, reports, sweep=name)
        say(f"{reports / name}")
    for folder in sorted((results / "studies").glob("*/")):
        write_study_report(load_study(folder.name), results / "studies", results, reports, say=lambda _: None)
        say(f"{reports / folder.name}")
    for path in sorted((results / UNDERSTANDING).glob("*.json")):
        render_understanding(path, reports / UNDERSTANDING)
        say(f"{reports / UNDERSTANDING}")
    if (tunings := render_tunings(results, reports / TUNING)) is not None:
        say(f"{tunings}")
    update_overview(root / "docs" / "ablations.md", reports)
    write_figures({"published": partial(_published, records)}, reports / "published")
    table = published_frame().to_csv(index=False, lineterminator="\n")
    write_whole(reports / "published.csv", table.encode())
    say(f"{reports / 'published'}")
    update_readme(root / "README.md", reports / README_SWEEP, sweep=README_SWEEP)
    write_whole(reports / COUNTED.name, counted_csv().encode())
    _, changed = update_claims(root, reports / "claims.toml", results)
    for path in changed:
        say(f"{path}")
    say(f"{render_page(results, root / PAGE)}")


def _published(records: Sequence[Record]) -> Figure:
    """Draw what others published beside what was measured on the same data."""
    scored = {one.sweep for one in records if one.quality is not None and one.quality.dataset == DATASET}
    joined = [join([record for record in records if record.sweep == sweep]) for sweep in sorted(scored)]
    return published_figure(drawn_models(), pd.concat(joined) if joined else None)
