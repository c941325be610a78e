"""Records of a sweep of alternatives -> tables and figure in its report's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.ablation.evidence import labels_of, read_evidence
from bench.ablation.figure import facets
from bench.ablation.series import sort_out
from bench.ablation.tables import AblationTable, axis_table, front_tables, numbers
from bench.records.schema import Record
from bench.records.store import read_records, to_frame
from bench.report.frame import MEASURED, ReportError
from bench.report.render import FORMATS, figure_file
from bench.report.style import paper_style
from bench.report.words import device_name
from fastast.metrics import METRIC_OF
from fastast.writing import write_whole


def render_ablation(
    results: Path, out: Path, *, sweep: str, formats: tuple[str, ...] = FORMATS, labels: np.ndarray | None = None
) -> list[Path]:
    """Write `ablation.md`, `ablation.csv` and, of fronts with speeds, `fronts.*` to `out/<sweep>/`; return the paths.

    Every machine and model has its own tables; the first machine's figure is drawn, and others' beside it by their key.
    `labels` of the clips, (n, c), are read from the data set where not given. Raises ReportError for no records, or
    alternatives that cannot be compared.
    """
    found = [record for record in read_records(results) if record.sweep == sweep] if results.is_dir() else []
    if not found:
        raise ReportError(f"ablation: no records of sweep {sweep!r} in {results}; run: python -m bench run {sweep}")
    if any("length" in record.cell.question["model"] for record in found):
        raise ReportError(
            f"ablation: sweep {sweep!r} runs clips at their own length too, and compares none across lengths; "
            f"draw it with: python -m bench report --sweep {sweep}"
        )
    scored = next((record for record in found if record.quality is not None and record.status in MEASURED), None)
    if scored is None:
        raise ReportError(f"ablation: no record of sweep {sweep!r} has a quality")
    labels = labels_of(scored) if labels is None else labels
    texts, frames, written = [], [], []
    folder = out / sweep
    groups = _groups(found)
    for number, (name, records) in enumerate(groups.items()):
        tables, frame, drawn = _of_one(records, results, labels, formats)
        parts = [f"## {name}", *(table.markdown() for table in tables), _left_out(records)]
        texts.append("\n\n".join(filter(None, parts)))
        frames.append(frame.assign(machine=records[0].machine.key))
        for form, content in drawn.items():
            path = folder / (f"fronts.{form}" if number == 0 else f"fronts_{number + 1}.{form}")
            write_whole(path, content)
            written.append(path)
    page = f"# {sweep}\n\n" + "\n\n".join(texts) + "\n"
    for name, text in (
        ("ablation.md", page),
        ("ablation.csv", pd.concat(frames).to_csv(index=False, lineterminator="\n")),
    ):
        write_whole(folder / name, text.encode())
        written.append(folder / name)
    return written


def _groups(records: list[Record]) -> dict[str, list[Record]]:
    """Return the records by what they share: machine, weights, type, engine."""
    groups: dict[str, list[Record]] = {}
    for record, (_, row) in zip(records, to_frame(records).iterrows(), strict=True):
        name = f"{device_name(row)}, {row['dtype']}" if pd.notna(row["device"]) else record.machine.key
        groups.setdefault(f"{record.cell.question['model'].get('sha256', '')} {name}", []).append(record)
    return {name.partition(" ")[2]: found for name, found in groups.items()}


def _of_one(
    records: list[Record], results: Path, labels: np.ndarray, formats: tuple[str, ...]
) -> tuple[list[AblationTable], pd.DataFrame, dict[str, bytes]]:
    word = next((_word(record) for record in records if record.quality is not None), "mAP")
    try:
        found = sort_out(read_evidence(records, results, labels))
        if found.is_one_axis:
            return [axis_table(found, word)], numbers(found), {}
        tables = front_tables(found, word)
    except ValueError as error:
        raise ReportError(f"ablation: {records[0].sweep}: {error}") from error
    drawn = {}
    with paper_style():
        import matplotlib.pyplot as plt

        try:
            figure = facets(found, word)
        except ValueError:
            return tables, numbers(found), {}  # of quality alone: the tables say what was not measured
        drawn = {form: figure_file(figure, form) for form in formats}
        plt.close(figure)
    return tables, numbers(found), drawn


def _left_out(records: list[Record]) -> str:
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


def _word(record: Record) -> str:
    assert record.quality is not None
    return METRIC_OF[record.quality.task]
