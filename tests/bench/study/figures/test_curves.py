"""Training curves are the losses of the logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.study.figures.curves import LOG, curves_figure, training_curves
from bench.study.recipes import run_folder
from bench.study.study_file import Study, StudyArm


@pytest.fixture
def study() -> Study:
    return Study(
        name="curves",
        recipe="smoke",
        seeds=(0, 1),
        reference="ast",
        arms=(
            StudyArm(name="ast", label="AST"),
            StudyArm(name="kd", label="taught", seeds=(0,)),
            StudyArm(name="as_is", label="as shipped", seeds=(0,), untrained=True),
        ),
    )


def log(root: Path, study: Study, arm: str, seed: int, events: list[dict]) -> None:
    folder = run_folder(root, study, arm, seed)
    folder.mkdir(parents=True)
    text = "".join(json.dumps(event) + "\n" for event in [{"event": "start", "step": 0}, *events])
    (folder / LOG).write_text(text)


def test_a_curve_is_the_loss_on_the_labels_seed_by_seed(study: Study, tmp_path: Path) -> None:
    for seed in (0, 1):
        steps = [{"event": "train", "step": step, "loss": 0.5 / step + seed} for step in (10, 20, 30)]
        log(tmp_path, study, "ast", seed, [*steps, {"event": "val constant:0", "step": 30, "mAP": 0.5}])
    taught = [{"event": "train", "step": s, "loss": 9.0, "label_loss": 0.2, "teacher_loss": 7.0} for s in (10, 20, 30)]
    log(tmp_path, study, "kd", 0, taught)
    log(tmp_path, study, "as_is", 0, [{"event": "train", "step": 1, "loss": 1.0}])
    curves = training_curves(study, tmp_path)
    assert set(curves["arm"]) == {"ast", "kd"}
    assert set(curves.loc[curves["arm"] == "kd", "loss"]) == {0.2}
    figure = curves_figure(curves)
    assert "grey: the other arms" in figure.get_suptitle()
    alone = curves_figure(curves[curves["arm"] == "ast"])
    assert "grey" not in alone.get_suptitle()  # of one panel nothing is
    first, second = (axis for axis in figure.axes if axis.get_visible())
    assert [axis.get_title(loc="left") for axis in (first, second)] == ["AST", "taught"]
    thick = max(first.lines, key=lambda line: line.get_linewidth())
    assert list(thick.get_xdata()) == [10, 20, 30]
    assert list(thick.get_ydata()) == pytest.approx([0.05 + 0.5, 0.025 + 0.5, 0.5 / 30 + 0.5])  # mean of both seeds


def test_many_noisy_steps_become_few_points_over_a_plain_axis(study: Study, tmp_path: Path) -> None:
    for seed in (0, 1):  # the second was cut off
        steps = range(10, 4100 if seed == 0 else 2050, 10)
        log(tmp_path, study, "ast", seed, [{"event": "train", "step": s, "loss": s % 20 / 10 + seed} for s in steps])
    figure = curves_figure(training_curves(study, tmp_path))
    thick = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
    drawn = list(thick.get_xdata())
    assert len(drawn) <= 32
    assert (drawn[0], drawn[-1]) == (130, 4090)  # 13 of 409 each, and what is left
    assert thick.get_ydata()[1] == pytest.approx(0.5 + 0.5, abs=0.05)  # the noise is gone, the seeds' mean is left
    assert thick.get_ydata()[-2] == pytest.approx(0.5, abs=0.05)  # where there is one seed
    assert figure.axes[0].get_xscale() == "linear"


def test_what_is_cut_off_is_said_in_lines_that_fit(tmp_path: Path) -> None:
    arms = tuple(StudyArm(name=f"arm{n}", label=f"a way of training with a long name, {n}") for n in range(5))
    study = Study(name="s", recipe="smoke", seeds=(0,), reference="arm0", arms=arms)
    for n, arm in enumerate(arms):
        steps = [{"event": "train", "step": 10**s, "loss": (3.0 + (n == 4)) / 10**s} for s in range(3)]
        log(tmp_path, study, arm.name, 0, steps)
    figure = curves_figure(training_curves(study, tmp_path))
    said = figure.get_suptitle().replace("\n", " ")
    assert "long name, 2, a way of training with a long name, 3 begin at 3.00; a way of" in said
    assert said.endswith("long name, 4 begins at 4.00")
    box = figure._suptitle.get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1


def test_logs_too_short_for_a_curve_are_refused(study: Study, tmp_path: Path) -> None:
    log(tmp_path, study, "ast", 0, [{"event": "train", "step": 1, "loss": 1.0}])
    with pytest.raises(ValueError, match="no published log has enough steps"):
        curves_figure(training_curves(study, tmp_path))
