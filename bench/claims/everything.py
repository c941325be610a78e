"""Render everything published from `results`: every sweep, every study, README, claims, and the page."""

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
from bench.report.drawing.files import write_figures
from bench.report.frame import join
from bench.report.published.figures import published_frame
from bench.report.published.models import DATASET, drawn_models, published_figure
from bench.report.readme import update_readme
from bench.report.render import ReportError
from bench.report.render import render as render_report
from bench.tuning.published import FOLDER as TUNING
from bench.tuning.published import render_tunings
from bench.understanding.command import FOLDER as UNDERSTANDING
from bench.understanding.render import render_understanding
from fastast.system.processors import affinity
from fastast.system.workers import in_processes
from fastast.system.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

README_SWEEP = "default"
"""Sweep whose figures and table are in README."""
PAGE = "build/page.html"
"""Page on which to explore all records; not committed, as its library alone takes megabytes."""


def render_everything(root: Path, *, say: Callable[[str], object] = print) -> None:
    """Render `root/reports`, the numbers of the documents and the page from `root/results`, on all processors.

    Raises ReportError if there are no records, ClaimError if a sentence no longer holds.
    """
    results, reports = root / "results", root / "reports"
    records = read_records(results) if results.is_dir() else []
    sweeps = sorted({record.sweep for record in records})
    if not sweeps:
        raise ReportError(f"report: no records in {results}")
    parts = [partial(render_page, results, root / PAGE)]  # the longest first
    parts += [
        partial(_render_sweep, results, reports, name)
        for name in sweeps
        if (reports / name).is_dir() or name == README_SWEEP or name.startswith(PREFIX)
    ]
    parts += [partial(_render_study, results, reports, path.name) for path in sorted((results / "studies").glob("*/"))]
    parts += [
        partial(_render_understanding, path, reports / UNDERSTANDING)
        for path in sorted((results / UNDERSTANDING).glob("*.json"))
    ]
    for done in in_processes(lambda number: parts[number](), range(len(parts)), affinity(), chunk=1):
        say(f"{done}")
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


def _render_sweep(results: Path, reports: Path, name: str) -> Path:
    if name.startswith(PREFIX):
        render_ablation(results, reports, sweep=name)  # first, as the report's page shows its files
    render_report(results, reports, sweep=name)
    return reports / name


def _render_study(results: Path, reports: Path, name: str) -> Path:
    from bench.study.report import write_study_report
    from bench.study.study_file import load_study

    write_study_report(load_study(name), results / "studies", results, reports, say=lambda _: None)
    return reports / name


def _render_understanding(path: Path, out: Path) -> Path:
    render_understanding(path, out)
    return out


def _published(records: Sequence[Record]) -> Figure:
    """Draw what others published beside what was measured on the same data set."""
    scored = {one.sweep for one in records if one.quality is not None and one.quality.dataset == DATASET}
    joined = [join([record for record in records if record.sweep == sweep]) for sweep in sorted(scored)]
    return published_figure(drawn_models(), pd.concat(joined) if joined else None)
