"""Quality against training time is what the logs say, at the times of measured steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.study.figures.curves import LOG
from bench.study.figures.progress import end_of, progress, progress_figure, seconds_to
from bench.study.recipes import StudyError, run_folder
from bench.study.speeds import Speeds
from bench.study.study_file import Study, StudyArm
from fastast.training.run_folder.folder import RECIPE

STEPS = Speeds(ratios={"constant:10": (2.0, 1.9, 2.1), "constant:30": (4.0, 3.9, 4.1)}, unmerged_seconds=0.2)


@pytest.fixture
def study() -> Study:
    return Study(
        name="progress",
        recipe="smoke",
        seeds=(0, 1),
        reference="ast",
        arms=(
            StudyArm(name="as_is", label="as shipped", seeds=(0,), untrained=True),
            StudyArm(name="ast", label="AST"),
            StudyArm(name="tome", label="ToMe", seeds=(0,)),
            StudyArm(name="part", label="short", group="ablation", seeds=(0,)),
        ),
    )


def log(root: Path, study: Study, arm: str, seed: int, scores: dict[int, float], r: list[int], name: str) -> None:
    folder = run_folder(root, study, arm, seed)
    folder.mkdir(parents=True)
    events = [{"event": "train", "step": 1, "loss": 1.0}]
    events += [{"event": f"val {name}", "step": step, "mAP": score} for step, score in scores.items()]
    events += [{"event": f"test {name}", "step": max(scores), "mAP": 0.9}]
    (folder / LOG).write_text("".join(json.dumps(event) + "\n" for event in events))
    question = {"batch_size": 4, "reduction": {"r": r, "schedule": []} if r else None}
    (folder / RECIPE).write_text(json.dumps({"question": question}))


@pytest.fixture
def trainings(study: Study, tmp_path: Path) -> Path:
    log(tmp_path, study, "as_is", 0, {1: 0.40}, [], "constant:0")
    log(tmp_path, study, "ast", 0, {10: 0.42, 20: 0.43, 30: 0.44}, [], "constant:0")
    log(tmp_path, study, "ast", 1, {10: 0.40, 20: 0.41, 30: 0.42}, [], "constant:0")
    log(tmp_path, study, "tome", 0, {10: 0.41, 20: 0.45, 30: 0.46}, [10, 30], "constant:0")
    log(tmp_path, study, "part", 0, {10: 0.41, 20: 0.45, 30: 0.46}, [], "constant:0")
    return tmp_path


def test_time_is_that_of_the_steps_with_what_they_merge(study: Study, trainings: Path) -> None:
    rows = progress(study, trainings, STEPS)
    assert set(rows["arm"]) == {"ast", "tome"}  # ablations are not drawn, nor is what was not trained
    ast = rows[(rows["arm"] == "ast") & (rows["seed"] == 1)]
    assert list(ast["clips"]) == [0, 40, 80, 120]
    assert list(ast["seconds"]) == pytest.approx([0, 8, 16, 24])
    assert list(ast["mAP"]) == [0.40, 0.40, 0.41, 0.42]
    tome = rows[rows["arm"] == "tome"]
    assert list(tome["seconds"]) == pytest.approx([0, 3, 6, 9])  # a clip takes 0.1 s, or 0.05 s: 0.075 s on the mean


def test_when_a_model_is_as_good_as_another(study: Study, trainings: Path) -> None:
    rows = progress(study, trainings, STEPS)
    assert end_of(rows, "ast") == pytest.approx((0.44 + 0.42) / 2)
    assert math.isnan(end_of(rows, "part"))
    found = seconds_to(rows, 0.43)
    assert found["tome", "constant:0", 0] == pytest.approx(3 + 3 * 0.5)  # half of the way from 0.41 to 0.45
    assert found["ast", "constant:0", 0] == pytest.approx(16)
    assert math.isnan(found["ast", "constant:0", 1])


def test_the_figure_has_a_line_an_arm_and_the_reference_s_end(study: Study, trainings: Path) -> None:
    rows = progress(study, trainings, STEPS)
    figure = progress_figure(rows, "ast")
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines["AST"].get_ydata()) == pytest.approx([0.40, 0.41, 0.42, 0.43])
    assert list(lines["ToMe"].get_xdata()) == pytest.approx([0, 0.05, 0.1, 0.15])
    dashed = next(line for line in axis.lines if line.get_linestyle() == "--")
    assert list(dashed.get_ydata()) == pytest.approx([0.43, 0.43])
    with pytest.raises(ValueError, match="enough validations and a measured time"):
        progress_figure(progress(study, trainings, Speeds()), "ast")
    with pytest.raises(ValueError, match="enough validations and a measured time"):
        progress_figure(progress(study, trainings / "elsewhere", STEPS), "ast")


def test_it_says_what_was_validated_who_ends_where_and_what_ran_where(study: Study, trainings: Path) -> None:
    figure = progress_figure(progress(study, trainings, STEPS), "ast", "mAP on 8 clips", "Speeds are of Abacus.")
    said = figure.get_supxlabel().replace("\n", " ")
    assert said.startswith("mAP on 8 clips. Points: mean over the seeds;")
    assert said.endswith("answers. Dashed: where “AST” ends, no merging. Speeds are of Abacus.")


def test_a_seed_that_was_validated_less_often_does_not_bend_the_mean(study: Study, trainings: Path) -> None:
    path = run_folder(trainings, study, "ast", 0) / LOG
    more = {"event": "val constant:0", "step": 25, "mAP": 0.435}
    path.write_text(path.read_text() + json.dumps(more) + "\n")
    figure = progress_figure(progress(study, trainings, STEPS), "ast")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["AST"].get_ydata()) == pytest.approx([0.40, 0.42, 0.43, 0.435, 0.44])  # of the first seed alone
    dashed = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    assert list(dashed.get_ydata()) == pytest.approx([0.43, 0.43])  # of both
    (said,) = (text.get_text().replace("\n", " ") for text in figure.texts if "Minutes" in text.get_text())
    assert "Points: of one seed each; seeds that were validated less often are left out." in said


def test_where_the_reference_ends_is_the_mean_of_all_seeds_whenever_each_ended(study: Study, trainings: Path) -> None:
    path = run_folder(trainings, study, "ast", 0) / LOG
    more = {"event": "val constant:0", "step": 40, "mAP": 0.46}
    path.write_text(path.read_text() + json.dumps(more) + "\n")
    assert end_of(progress(study, trainings, STEPS), "ast") == pytest.approx((0.46 + 0.42) / 2)


def validate_on(root: Path, study: Study, arm: str, seed: int, clips: str) -> None:
    path = run_folder(root, study, arm, seed) / RECIPE
    path.write_text(json.dumps({**json.loads(path.read_text()), "inputs": {"data.val_ids": clips}}))


def test_a_curve_begins_with_weights_that_were_validated_on_its_clips_or_has_no_beginning(
    study: Study, trainings: Path
) -> None:
    for arm, seed in [("ast", 0), ("ast", 1), ("tome", 0)]:
        validate_on(trainings, study, arm, seed, "two thousand")
    validate_on(trainings, study, "as_is", 0, "sixteen")
    assert min(progress(study, trainings, STEPS)["clips"]) == 40
    validate_on(trainings, study, "as_is", 0, "two thousand")
    assert min(progress(study, trainings, STEPS)["clips"]) == 0


def test_trainings_that_were_validated_on_different_clips_are_not_drawn_together(study: Study, trainings: Path) -> None:
    validate_on(trainings, study, "tome", 0, "others")
    with pytest.raises(StudyError, match=r"ast/seed-0 and .*tome/seed-0 were validated on different clips"):
        progress(study, trainings, STEPS)


def test_without_validations_nobody_is_ever_as_good(study: Study, tmp_path: Path) -> None:
    rows = progress(study, tmp_path, Speeds())
    assert rows.empty
    assert seconds_to(rows, 0.5).empty
