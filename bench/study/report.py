"""Render the published trainings of a study to a folder of figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bench.records.schema import Record
from bench.records.store import read_records
from bench.report.drawing.files import write_figures
from bench.report.words import DATASET_NOTES
from bench.study import RUNS
from bench.study.figures.ablation import ablation_figure
from bench.study.figures.claim import claim_figure
from bench.study.figures.contrast import contrast_figure
from bench.study.figures.curves import curves_figure, training_curves
from bench.study.figures.families import families, family_figure
from bench.study.figures.progress import end_of, progress, progress_figure, seconds_to
from bench.study.figures.speed import speed_figure
from bench.study.frame import frame
from bench.study.recipes import recipe, refuse_other_recipes
from bench.study.speeds import Speeds, speeds_of, speeds_words
from bench.study.study_file import Study
from bench.study.tables import tables
from bench.study.words import TableWords
from fastast.system.writing import write_whole
from fastast.training.recipe.recipe import Recipe


def write_study_report(
    study: Study, trainings: Path, results: Path, out: Path, *, say: Callable[[str], object] = print
) -> list[Path]:
    """Write `out/<study>/`: `table.csv`, `table.md`, `table.tex`, and the figures that can be drawn; return the paths.

    For trainings that were validated on the way, `progress.csv` has every validation, and `time_to_reference.csv` the
    time at which each is as good as the reference at its end. For the study's families, there is `families.csv`.

    trainings: published ones. results: records of sweeps, for the speeds. say: is told of every figure that cannot be
    drawn, with the reason. Raises StudyError if nothing is published, or trainings cannot be compared.
    """
    records = read_records(results) if results.is_dir() else []
    forward, steps = _speeds(study, trainings, records)
    rows = frame(study, trainings, forward, steps)
    by_time = progress(study, trainings, steps)
    by_family = families(study, trainings)
    folder, words = out / study.name, map_words(study, rows)
    drawn = write_figures(
        {
            "speed": lambda: speed_figure(rows, study.reference, words, speeds_words(forward)),
            "claim": lambda: claim_figure(rows, words, speeds_words(forward)),
            "contrasts": lambda: contrast_figure(rows, words),
            "ablations": lambda: ablation_figure(rows, words),
            "families": lambda: family_figure(by_family, words.replace("mAP", "Average precision", 1)),
            "curves": lambda: curves_figure(training_curves(study, trainings)),
            "progress": lambda: progress_figure(
                by_time, study.reference, validation_words(study), speeds_words(Speeds(), steps)
            ),
        },
        folder,
    )
    for name, reason in drawn.reasons.items():
        say(f"no figure {name!r}: {reason}")
    written = list(drawn.paths)
    texts = tables(rows, study.name, of_tables(study, words, speeds_words(forward, steps)))
    if not by_family.empty:
        texts["families.csv"] = by_family.to_csv(index=False, lineterminator="\n")
    if not by_time.empty:
        texts["progress.csv"] = by_time.to_csv(index=False, lineterminator="\n")
        texts["time_to_reference.csv"] = _times(study, by_time).to_csv(index=False, lineterminator="\n")
    for name, text in texts.items():
        written.append(folder / name)
        write_whole(written[-1], text.encode())
    return written


def study_frame(study: Study, trainings: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return the rows of a study's tables; `records`: those of the sweeps with its speeds, and any others."""
    return frame(study, trainings, *_speeds(study, trainings, records))


def times_to_reference(study: Study, trainings: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return when each training is as good as the unmerged reference at its end: arm, schedule, seed and seconds.

    Seconds are NaN if it never is.
    """
    return _times(study, validations(study, trainings, records))


def validations(study: Study, trainings: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return every validation of every training, as `bench.study.figures.progress.progress` does."""
    _, steps = _speeds(study, trainings, records)
    return progress(study, trainings, steps)


def _speeds(study: Study, trainings: Path, records: Sequence[Record]) -> tuple[Speeds, Speeds]:
    """Return the speeds of a forward and of a training step, after checking that the trainings are the study's own."""
    refuse_other_recipes(study, trainings)
    forward, steps = speeds_of((study.speed, study.training_speed), records)
    return forward, steps


def _times(study: Study, by_time: pd.DataFrame) -> pd.DataFrame:
    return seconds_to(by_time, end_of(by_time, study.reference)).reset_index()


def map_words(study: Study, rows: pd.DataFrame) -> str:
    """Return what mAP was measured on."""
    count = rows["clips"].iloc[0]
    first = getattr(_recipe(study).data.options, "first_test_clip", 0)
    clips = f"test clips {first} to {first + count - 1}" if first else f"{count} test clips"
    return f"mAP on {clips} of {_data_words(study)}"


def validation_words(study: Study) -> str:
    """Return what mAP during training was measured on."""
    count = getattr(_recipe(study).data.options, "val_clips", None)
    clips = "validation clips" if count is None else f"{count} validation clips"
    return f"mAP on {clips} of {_data_words(study)}"


def _data_words(study: Study) -> str:
    data = _recipe(study).data.name
    return data + (f" ({DATASET_NOTES[data]})" if data in DATASET_NOTES else "")


def _recipe(study: Study) -> Recipe:
    arm = study.arm(study.reference)
    return recipe(study, arm, study.seeds_of(arm)[0], RUNS)


def of_tables(study: Study, words: str, speeds: str) -> TableWords:
    """Return the notes on tables; `words`: what mAP was measured on; `speeds`: what speeds were measured on."""
    speed = f"Speed-up of the forward over the unmerged model's, interleaved: records of the sweep {study.speed}"
    training = (
        "seconds of the steps for 1,000 clips, on the mean over the schedules that steps draw, without a teacher's "
        f"answers: records of {study.training_speed}"
    )
    return TableWords(
        scores=words,
        speed=speed if study.speed else "",
        clips="clips/s: that speed-up times the unmerged model's",
        training=training if study.training_speed else "",
        speeds=speeds or "Speeds are of no machine yet.",
    )
