"""A study of very small models, trained, published and reported for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from bench.study.figures.claim import claim_figure
from bench.study.frame import frame
from bench.study.publish import publish_trainings
from bench.study.recipes import StudyError, run_folder, settings, teacher, weights
from bench.study.report import write_study_report
from bench.study.speeds import Speeds
from bench.study.statistics.scores import read_replicates
from bench.study.study_file import Claim, Contrast, Study, StudyArm
from bench.study.trainings import commands, is_published, is_trained, missing, run_study
from fastast.cli import app
from fastast.teachers import load_teacher

pytestmark = pytest.mark.slow
FAST = Speeds(ratios={"constant:8": (1.5, 1.4, 1.6)}, unmerged_seconds=0.1)
SHORT = ("steps=3", "batch_size=8", "data.train_clips=32", "data.val_clips=8", "data.test_clips=60", "run.log_every=1")


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(
        name="very_small",
        recipe="smoke",
        seeds=(0, 1),
        evaluate=("constant:0", "constant:8"),
        reference="ast",
        arms=(
            StudyArm(name="ast", label="AST", set=(*SHORT, "reduction=")),
            StudyArm(name="taught", label="AST + CMKD", set=SHORT, teacher="ast", seeds=(0,), evaluate=("constant:8",)),
        ),
    )


@pytest.fixture(scope="module")
def trained(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    said: list[str] = []
    run_study(study, out, out / "nothing published", say=said.append)
    assert said == ["1 of 3: ast, seed 0", "2 of 3: taught, seed 0", "3 of 3: ast, seed 1"]
    return out


def test_merging_that_an_arm_cannot_do_is_refused_before_anything_is_trained(study: Study, tmp_path: Path) -> None:
    greedy = StudyArm(name="greedy", label="too much", set=(*SHORT, "reduction.r=500", "reduction.excess=refuse"))
    other = study.model_copy(update={"arms": (*study.arms, greedy)})
    with pytest.raises(StudyError, match=r"^arm 'greedy': .* can remove "):
        run_study(other, tmp_path, tmp_path / "nothing published", say=lambda _: None)
    assert not list(tmp_path.rglob("seed-*"))
    with pytest.raises(StudyError, match=r"^arm 'greedy': .* can remove "):  # so does a dry run
        missing(other, (), tmp_path, tmp_path / "nothing published")


def test_every_arm_is_trained_under_its_seeds_and_only_once(study: Study, trained: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in trained.rglob("seed-*/model.safetensors")}
    assert len(written) == 3
    again: list[str] = []
    run_study(study, trained, trained / "nothing published", say=again.append)
    assert again == []
    assert written == {path: path.stat().st_mtime_ns for path in trained.rglob("seed-*/model.safetensors")}


def test_a_student_learns_from_the_first_seed_of_its_teacher(study: Study, trained: Path) -> None:
    recipe = json.loads((run_folder(trained, study, "taught", 0) / "recipe.json").read_text())["question"]
    assert recipe["distillation"]["teacher"] == str(run_folder(trained, study, "ast", 0) / "model.safetensors")
    assert Path(recipe["distillation"]["targets"]).is_file()


def test_several_teachers_are_made_one_before_they_are_asked(study: Study, trained: Path) -> None:
    pupil = StudyArm(name="pupil", label="pupil", set=SHORT, teacher=("ast", "taught"), seeds=(0,))
    wider = study.model_copy(update={"arms": (*study.arms, pupil)})
    making, asking, training = commands(wider, pupil, 0, trained)
    result = CliRunner().invoke(app, making[3:])
    assert result.exit_code == 0, result.output
    both = load_teacher(teacher(wider, pupil, trained))
    members = [load_teacher(weights(wider, name, 0, trained)) for name in ("ast", "taught")]
    fbank = torch.randn(2, 192, 128)
    with torch.inference_mode():
        torch.testing.assert_close(both(fbank), (members[0](fbank) + members[1](fbank)) / 2)
    assert asking[3] == "record"
    assert f"distillation.teacher={teacher(wider, pupil, trained)}" in training
    assert next(commands(wider, pupil, 0, trained))[3] == "record"  # made once


def test_another_recipe_in_the_folder_is_refused_with_the_difference(study: Study, trained: Path) -> None:
    other = StudyArm(name="ast", label="AST", set=(*SHORT, "reduction=", "optimiser.lr=0.5"))
    with pytest.raises(StudyError, match=r"optimiser\.lr is 0\.5 here, but 0\.002 there"):
        is_trained(study, other, 0, trained)


def test_scores_that_an_arm_asks_for_and_a_training_lacks_are_missed(study: Study, trained: Path) -> None:
    published = trained / "published"
    publish_trainings(study, trained, published, say=lambda _: None)
    asks_more = study.arm("taught").model_copy(update={"evaluate": ("constant:8", "constant:4")})
    assert not is_published(study, asks_more, 0, published)
    with pytest.raises(StudyError, match=r"taught/seed-0 was not scored under constant:4; move it away"):
        is_trained(study, asks_more, 0, trained)


def test_a_folder_is_one_folder_however_it_is_written(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = settings(study, study.arm("taught"), 0, Path("build"))
    assert "distillation.teacher=build/very_small/ast/seed-0/model.safetensors" in relative
    assert settings(study, study.arm("taught"), 0, tmp_path / "build") == relative
    elsewhere = settings(study, study.arm("taught"), 0, tmp_path.parent / "build")
    assert f"distillation.teacher={tmp_path.parent}/build/very_small/ast/seed-0/model.safetensors" in elsewhere


def test_what_is_published_gives_the_numbers_of_the_runs(study: Study, trained: Path, tmp_path: Path) -> None:
    assert publish_trainings(study, trained, tmp_path, say=lambda _: None) == 3
    assert publish_trainings(study, trained, tmp_path, say=lambda _: None) == 0
    assert not list(tmp_path.rglob("model.safetensors"))
    rows = frame(study, tmp_path, FAST).set_index(["arm", "schedule"])
    kept = load_file(run_folder(trained, study, "taught", 0) / "scores.safetensors")
    labels, scores = kept["labels"], kept["logits constant:8"]
    present = labels.any(axis=0)
    # scikit-learn has not seen a line of this project.
    expected = np.mean([average_precision_score(labels[:, j], scores[:, j]) for j in np.flatnonzero(present)])
    assert rows.loc[("taught", "constant:8"), "mAP"] == pytest.approx(expected, abs=1e-6)
    values = [
        json.loads((run_folder(trained, study, "ast", seed) / "result.json").read_text())["test"]["constant:0"]["mAP"]
        for seed in (0, 1)
    ]
    assert rows.loc[("ast", "constant:0"), "mAP"] == pytest.approx(np.mean(values))
    # The reference has a second seed: mean against mean, and the interval knows of seeds.
    row = rows.loc[("taught", "constant:8")]
    assert row["delta"] == pytest.approx(expected - np.mean(values), abs=1e-6)
    assert (row["delta_seeds"], row["against_seeds"]) == (1, 2)
    assert rows.loc[("ast", "constant:8"), "speedup"] == 1.5
    assert rows.loc[("ast", "constant:8"), "clips_per_second"] == pytest.approx(15)  # 1.5 times 1 / 0.1 s
    assert rows.loc[("ast", "constant:0"), "clips_per_second"] == pytest.approx(10)
    steps = frame(study, tmp_path, FAST, FAST).set_index(["arm", "schedule"])["train_seconds_per_1000"]
    assert steps[("taught", "constant:8")] == pytest.approx((100 + 100 / 1.5) / 2)  # its steps draw r from 0 and 8
    assert steps[("ast", "constant:8")] == pytest.approx(100)  # tested with merging, trained without
    replicates = read_replicates(run_folder(tmp_path, study, "taught", 0))
    assert replicates.clips == 60
    assert replicates.by_schedule["constant:8"].std() > 0
    assert replicates.over_recordings.keys() == replicates.by_schedule.keys()
    assert replicates.over_recordings["constant:8"].std() > 0
    assert rows.loc[("taught", "constant:8"), "recordings"]


def test_an_arm_is_held_against_another_under_the_same_schedule(study: Study, trained: Path, tmp_path: Path) -> None:
    publish_trainings(study, trained, tmp_path, say=lambda _: None)
    arms = (study.arms[0], study.arms[1].model_copy(update={"against": "ast", "group": "an ablation"}))
    pair = Contrast(label="a teacher", arm="taught", against="ast")
    other = study.model_copy(update={"arms": arms, "contrasts": (pair,)})
    rows = frame(other, tmp_path, Speeds()).set_index(["group", "schedule"])
    mine, first, second = (
        json.loads((run_folder(trained, study, *training) / "result.json").read_text())["test"]["constant:8"]["mAP"]
        for training in (("taught", 0), ("ast", 0), ("ast", 1))
    )
    theirs = (first + second) / 2
    assert mine != theirs
    for group in ("an ablation", "contrast"):
        row = rows.loc[(group, "constant:8")]
        assert row["delta"] == pytest.approx(mine - theirs, abs=1e-9)
        assert (row["against_mAP"], row["against_schedule"]) == (pytest.approx(theirs), "constant:8")
    assert ("contrast", "constant:0") not in rows.index  # the student was not scored under it
    written = write_study_report(other, tmp_path, tmp_path / "no records", tmp_path / "reports", say=lambda _: None)
    assert {"contrasts.png", "ablations.png"} <= {path.name for path in written}
    text = (tmp_path / "reports" / study.name / "table.md").read_text()
    assert "**an ablation** · Difference to “AST”, under the same schedule." in text
    assert "**Merging and distillation** · Difference to “AST”, no merging." in text


def test_untrained_weights_stand_beside_every_seed(study: Study, trained: Path, tmp_path: Path) -> None:
    publish_trainings(study, trained, tmp_path, say=lambda _: None)
    arms = (study.arms[0], study.arms[1].model_copy(update={"untrained": True}))
    other = study.model_copy(update={"arms": arms, "claim": Claim(against="taught", arms=("ast", "taught"))})
    plain, merged = (
        [
            json.loads((run_folder(trained, study, "ast", seed) / "result.json").read_text())["test"][schedule]["mAP"]
            for seed in (0, 1)
        ]
        for schedule in ("constant:0", "constant:8")
    )
    begun = json.loads((run_folder(trained, study, "taught", 0) / "result.json").read_text())["test"]["constant:8"]
    rows = frame(other, tmp_path, FAST)
    found = rows.set_index(["group", "arm", "schedule"])
    # The claim: every schedule against the first of `taught`, over both seeds of `ast`.
    for schedule, values in (("constant:0", plain), ("constant:8", merged)):
        row = found.loc[("claim", "ast", schedule)]
        assert row["delta"] == pytest.approx(np.mean(values) - begun["mAP"], abs=1e-9)
        assert (row["delta_seeds"], row["against_seeds"], row["against_schedule"]) == (2, 1, "constant:8")
    # The other way round: the untrained arm against the reference.
    row = found.loc[("main", "taught", "constant:8")]
    assert row["delta"] == pytest.approx(begun["mAP"] - np.mean(plain), abs=1e-9)
    assert (row["delta_seeds"], row["against_seeds"], row["seeds"]) == (1, 2, 1)
    axis = claim_figure(rows, "notes").axes[0]
    drawn = [line for line in axis.lines if len(line.get_xdata()) == 1 and line.get_marker() not in ("None", "_", "|")]
    assert [line.get_ydata()[0] for line in drawn] == [pytest.approx(np.mean(merged) - begun["mAP"])]


def test_untrained_weights_of_several_seeds_stand_beside_their_own(study: Study, trained: Path, tmp_path: Path) -> None:
    """As averages are whose parts were trained: their seeds are chance too."""
    publish_trainings(study, trained, tmp_path, say=lambda _: None)
    plain = study.arms[0].model_copy(update={"untrained": True})
    other = study.model_copy(update={"arms": (plain, study.arms[1])})
    row = frame(other, tmp_path, FAST).set_index(["arm", "schedule"]).loc[("taught", "constant:8")]
    assert (row["delta_seeds"], row["against_seeds"]) == (1, 2)


def test_an_arm_begins_with_the_average_of_others(study: Study, trained: Path, tmp_path: Path) -> None:
    still = ("steps=1", "optimiser.lr=1e-12", "ema_decay=0.5", *SHORT[1:], "reduction=")
    between = StudyArm(name="between", label="between", set=still, average={"ast": 0.75, "taught": 0.25})
    other = study.model_copy(update={"arms": (*study.arms, between)})
    nowhere = tmp_path / "nothing published"
    assert [(arm.name, seed) for arm, seed in missing(other, ("between",), trained, nowhere)] == [
        ("between", 0),
        ("between", 1),
    ]
    # Its second seed's average has the second seed's `ast`, and the only training of `taught`.
    assert missing(other, ("between",), tmp_path, nowhere) == [
        (study.arm("ast"), 0),
        (study.arm("taught"), 0),
        (between, 0),
        (study.arm("ast"), 1),
        (between, 1),
    ]
    run_study(other, trained, nowhere, arms=("between",), say=lambda _: None)
    for seed in (0, 1):
        one, two, found = (
            load_file(run_folder(trained, study, arm, place) / "model.safetensors")["head.linear.weight"]
            for arm, place in (("ast", seed), ("taught", 0), ("between", seed))
        )
        np.testing.assert_allclose(found, 0.75 * one + 0.25 * two, atol=1e-6)


def test_a_soup_has_the_weights_of_every_seed(study: Study, trained: Path, tmp_path: Path) -> None:
    still = ("steps=1", "optimiser.lr=1e-12", "ema_decay=0.5", *SHORT[1:], "reduction=")
    soup = StudyArm(name="soup", label="soup", set=still, seeds=(5,), soup=True, average={"ast": 0.5, "taught": 0.5})
    alone = StudyArm(name="alone", label="alone", set=still, average={"ast": 1.0})
    other = study.model_copy(update={"arms": (*study.arms, soup, alone)})
    nowhere = tmp_path / "nothing published"
    assert missing(other, ("soup",), tmp_path, nowhere) == [
        (study.arm("ast"), 0),
        (study.arm("ast"), 1),
        (study.arm("taught"), 0),
        (soup, 5),
    ]
    run_study(other, trained, nowhere, arms=("soup", "alone"), say=lambda _: None)
    first, second, taught, found, same = (
        load_file(run_folder(trained, study, arm, seed) / "model.safetensors")["head.linear.weight"]
        for arm, seed in (("ast", 0), ("ast", 1), ("taught", 0), ("soup", 5), ("alone", 1))
    )
    np.testing.assert_allclose(found, 0.25 * first + 0.25 * second + 0.5 * taught, atol=1e-6)
    np.testing.assert_allclose(same, second, atol=1e-6)
    assert not (trained / study.name / "averages" / "alone-seed-1.safetensors").exists()  # of one there is no average


def test_a_report_has_its_tables_and_figures(study: Study, trained: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    publish_trainings(study, trained, published, say=lambda _: None)
    said: list[str] = []
    written = write_study_report(study, published, tmp_path / "no records", tmp_path / "reports", say=said.append)
    names = {path.name for path in written}
    assert {"table.csv", "table.md", "table.tex"} <= names
    assert "speed.pdf" not in names  # no record says how fast anything is
    assert [line.split(":")[0] for line in said] == [
        f"no figure '{name}'" for name in ("speed", "claim", "contrasts", "ablations", "families", "progress")
    ]
    assert "run the sweep that the study names" in said[0]
    text = (tmp_path / "reports" / study.name / "table.md").read_text()
    assert "AST + CMKD | r = 8" in text
    assert "on 60 test clips" in text
    tex = (tmp_path / "reports" / study.name / "table.tex").read_text()
    assert tex.count("\\raggedright AST &") == 1  # of two rows of one model, the first has its name
    assert [line.split("&")[1].strip() for line in tex.splitlines() if line.startswith(" & ")] == ["r = 8"]


def test_trainings_that_were_tested_on_other_clips_are_not_compared(
    study: Study, trained: Path, tmp_path: Path
) -> None:
    publish_trainings(study, trained, tmp_path, say=lambda _: None)
    folder = run_folder(tmp_path, study, "ast", 1)
    from safetensors.numpy import save_file

    tensors = load_file(folder / "replicates.safetensors")
    tensors["labels"] = tensors["labels"][::-1].copy()
    save_file(tensors, folder / "replicates.safetensors")
    with pytest.raises(StudyError, match="tested on different clips"):
        frame(study, tmp_path, Speeds())


def test_a_training_that_fails_says_its_own_message(tmp_path: Path) -> None:
    (cut_off := tmp_path / "cut_off.safetensors").write_bytes(b"half")
    arm = StudyArm(name="ast", label="AST", set=(*SHORT, f"model.checkpoint={cut_off}"))
    study = Study(name="broken", recipe="smoke", seeds=(0,), reference="ast", arms=(arm,))
    with pytest.raises(StudyError, match=r"(?s)^1 of 1: ast, seed 0: .*cut_off\.safetensors"):
        run_study(study, tmp_path, tmp_path / "nothing published", say=lambda _: None)


def test_what_is_published_is_not_trained_again_but_for_a_teachers_weights(study: Study, trained: Path) -> None:
    """Of three published trainings one is withdrawn; its teacher has to be trained again where its weights are gone."""
    published = trained / "published"
    publish_trainings(study, trained, published, say=lambda _: None)
    assert missing(study, (), trained, published) == []
    (arm,) = (arm for arm in study.arms if arm.name == "taught")
    result = run_folder(published, study, "taught", 0) / "result.json"
    assert is_published(study, arm, 0, published)
    result.unlink()  # publishing was cut off: the result is what comes last
    assert not is_published(study, arm, 0, published)
    weights = run_folder(trained, study, "ast", 0)
    hidden = weights.with_name("hidden")
    shutil.rmtree(run_folder(published, study, "taught", 0))
    run_folder(trained, study, "taught", 0).rename(trained / "taught before")
    try:
        assert [(arm.name, seed) for arm, seed in missing(study, (), trained, published)] == [("taught", 0)]
        weights.rename(hidden)
        left = missing(study, (), trained, published)
        assert [(arm.name, seed) for arm, seed in left] == [("ast", 0), ("taught", 0)]
    finally:
        hidden.rename(weights) if hidden.exists() else None
        (trained / "taught before").rename(run_folder(trained, study, "taught", 0))
