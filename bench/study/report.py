"""Published trainings of a study -> a folder of figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bench.records.schema import Record
from bench.records.store import read_records
from bench.report.render import FORMATS, figure_file
from bench.report.style import paper_style
from bench.study.families import families, family_figure
from bench.study.figures import ablation_figure, claim_figure, contrast_figure, speed_figure
from bench.study.frame import frame
from bench.study.speeds import speeds_of
from bench.study.study_file import Study
from bench.study.tables import tables
from fastast.writing import write_whole


def write_study_report(
    study: Study, trainings: Path, results: Path, out: Path, *, say: Callable[[str], object] = print
) -> list[Path]:
    """Write `out/<study>/`: `table.csv`, `table.md`, `table.tex`, and the figures that can be drawn; return the paths.

    `trainings`: published ones; `results`: records of sweeps, for the speeds; `say` gets every figure that cannot
    be drawn, with the reason. Raises StudyError where nothing is published, or trainings cannot be compared.
    """
    rows = study_frame(study, trainings, read_records(results) if results.is_dir() else [])
    by_family = families(study, trainings)
    folder, written = out / study.name, []
    with paper_style():
        import matplotlib.pyplot as plt

        for name, draw in (
            ("speed", lambda: speed_figure(rows, study.reference, map_words(rows))),
            ("claim", lambda: claim_figure(rows, map_words(rows))),
            ("contrasts", lambda: contrast_figure(rows, map_words(rows))),
            ("ablations", lambda: ablation_figure(rows, map_words(rows))),
            ("families", lambda: family_figure(by_family, map_words(rows).removeprefix("mAP "))),
        ):
            try:
                figure = draw()
            except ValueError as error:
                say(f"no figure {name!r}: {error}")
                for form in FORMATS:  # one of an earlier report would pass for one of this
                    (folder / f"{name}.{form}").unlink(missing_ok=True)
                continue
            for form in FORMATS:
                written.append(folder / f"{name}.{form}")
                write_whole(written[-1], figure_file(figure, form))
            plt.close(figure)
    texts = tables(rows, study.name, of_tables(study, rows))
    if not by_family.empty:
        texts["families.csv"] = by_family.to_csv(index=False, lineterminator="\n")
    for name, text in texts.items():
        written.append(folder / name)
        write_whole(written[-1], text.encode())
    return written


def study_frame(study: Study, trainings: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return the rows of a study's tables; `records`: of the sweeps that say how fast its arms are, and of others."""
    return frame(study, trainings, speeds_of(study.speed, records), speeds_of(study.training_speed, records))


def map_words(rows: pd.DataFrame) -> str:
    """Return what mAP is of."""
    return f"mAP on {rows['clips'].iloc[0]} test clips of soundscapes (synthetic scenes of real recordings)"


def of_tables(study: Study, rows: pd.DataFrame) -> str:
    """Return what a reader must know of the tables."""
    return (
        f"{map_words(rows)}, mean ± standard deviation over the seeds; differences seed by seed, with their 95 % "
        "interval over seeds and clips. Speed-up of the forward over the unmerged model's, interleaved: records of the "
        f"sweep {study.speed or '(none)'}; clips/s: that speed-up times the unmerged model's. Training: seconds of the "
        "steps for 1,000 clips, of which an epoch has 80,000, on the mean over the schedules that steps draw: records "
        f"of {study.training_speed or '(none)'}. Memory: the most that the process of a training held, "
        "libraries included."
    )
