"""Mean and spread over the folds of a cross-validation, from real training runs."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, average_precision_score
from typer.testing import CliRunner

from fastast.cli import app
from fastast.training.evaluation.summary import runs_table, summarise_runs
from fastast.training.loop import train
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe
from tests.fastast.training.conftest import RECIPE


@pytest.fixture(scope="module")
def folds(esc50_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("folds")
    recipe = out / "tones.toml"
    recipe.write_text(RECIPE)
    settings = (
        f"data.root={esc50_root}",
        "metric=accuracy",
        "run.evaluate_every=4",
        "run.keep_scores=true",
    )
    for fold in range(1, 6):
        wanted = load_recipe(str(recipe), (*settings, f"data.fold={fold}"))
        train(wanted, out / f"fold-{fold}", device="cpu", quiet=True)
    return [out / f"fold-{fold}" for fold in range(1, 6)]


def test_the_mean_over_five_folds_is_that_of_their_scores(folds: list[Path]) -> None:
    kept = [load_file(folder / "scores.safetensors") for folder in folds]
    (name,) = [key for key in kept[0] if key.startswith("logits")]
    labels, scores = (np.stack([one[key] for one in kept]) for key in ("labels", name))
    assert labels.shape == (5, 8, 4)  # every clip of the data set once
    found = summarise_runs(folds)
    assert found.runs == tuple({"seed": 0, "fold": fold} for fold in range(1, 6))
    by_fold = [average_precision_score(labels[fold], scores[fold], average="macro") for fold in range(5)]
    spread = found.test["unmerged"]["mAP"]
    assert (spread.mean, spread.sd) == pytest.approx((np.mean(by_fold), np.std(by_fold, ddof=1)))
    assert (spread.low, spread.high) == pytest.approx((min(by_fold), max(by_fold)))
    assert spread.sd > 0
    # All folds have the same size, so the mean of their accuracies is that over all clips, as quoted for ESC-50.
    truth, said = labels.reshape(40, 4).argmax(1), scores.reshape(40, 4).argmax(1)
    assert found.test["unmerged"]["accuracy"].mean == pytest.approx(accuracy_score(truth, said))


def test_the_best_epoch_is_that_of_the_mean_and_not_of_every_fold(folds: list[Path], tmp_path: Path) -> None:
    """Two curves are best at different steps, and their mean is best at a third."""
    for folder, curve in zip(folds[:2], ((0.9, 0.8, 0.1), (0.1, 0.7, 0.75)), strict=True):
        shutil.copytree(folder, tmp_path / folder.name)
        events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        scores = iter(curve)
        for event in events:
            if event["event"] == "val":
                event["accuracy"] = next(scores)
        (tmp_path / folder.name / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found = summarise_runs([tmp_path / "fold-1", tmp_path / "fold-2"])
    assert (found.best.step, found.best.score, found.best.last_score) == (8, pytest.approx(0.75), pytest.approx(0.425))
    assert "accuracy on the validation sets: 0.7500 at its best, after step 8; 0.4250 at the end" in runs_table(found)


def test_runs_that_cannot_be_taken_together_are_refused(folds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two runs or more, not 1"):
        summarise_runs(folds[:1])
    with pytest.raises(RecipeError, match=r"fold-1: seed 0, fold 1, the same as .*fold-1; every run counts once"):
        summarise_runs([folds[0], folds[1], Path(folds[0])])
    with pytest.raises(RecipeError, match="every run counts once"):
        summarise_runs([folds[0], folds[0]])
    with pytest.raises(RecipeError, match=r"nowhere: no finished run here \(no result.json\)"):
        summarise_runs([folds[0], tmp_path / "nowhere"])
    shutil.copytree(folds[1], tmp_path / "other")
    recipe = json.loads((tmp_path / "other" / "recipe.json").read_text())
    recipe["question"]["optimiser"]["lr"] = 0.5
    (tmp_path / "other" / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(RecipeError, match=r"other: another recipe than .*fold-1: optimiser.lr is 0.5 here, but"):
        summarise_runs([folds[0], tmp_path / "other"])


def test_every_fold_may_have_its_own_teacher(folds: list[Path], tmp_path: Path) -> None:
    taught = []
    for place, folder in enumerate(folds[:2]):
        taught.append(shutil.copytree(folder, tmp_path / folder.name))
        recipe = json.loads((folder / "recipe.json").read_text())
        own = {"teacher": f"teacher-{place}", "targets": f"answers-{place}", "label_weight": 0.5}
        recipe["question"]["distillation"] = own
        (taught[-1] / "recipe.json").write_text(json.dumps(recipe))
    assert len(summarise_runs(taught).runs) == 2
    with pytest.raises(RecipeError, match="another recipe"):
        summarise_runs([folds[0], taught[1]])


def test_a_score_that_a_run_has_not_leaves_no_mean(folds: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folds]
    result = json.loads((copies[0] / "result.json").read_text())
    result["test"]["unmerged"]["AUC"] = None  # as for a class without clips
    (copies[0] / "result.json").write_text(json.dumps(result))
    assert math.isnan(summarise_runs(copies).test["unmerged"]["AUC"].mean)
    assert CliRunner().invoke(app, ["summary", *map(str, copies)]).exit_code == 0


def test_the_command_prints_what_was_computed(folds: list[Path]) -> None:
    found = summarise_runs(folds)
    printed = CliRunner().invoke(app, ["summary", *map(str, folds)])
    assert printed.exit_code == 0
    accuracy = found.test["unmerged"]["accuracy"]
    assert f"{accuracy.mean:.4f} ± {accuracy.sd:.4f}" in printed.output
    assert printed.output.startswith("5 runs: seed 0, fold 1; seed 0, fold 2;")
    as_json = json.loads(CliRunner().invoke(app, ["summary", "--json", *map(str, folds)]).output)
    assert as_json["test"]["unmerged"]["accuracy"]["mean"] == accuracy.mean
    refused = CliRunner().invoke(app, ["summary", str(folds[0])])
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


@pytest.fixture(scope="module")
def seeds(folds: list[Path], esc50_root: Path) -> list[Path]:
    """Three runs of one fold: the second could not read a test clip, and in the third's data a clip is renamed."""
    out = folds[0].parent
    recipe = str(out / "tones.toml")
    for seed in (1, 2, 3):
        root = shutil.copytree(esc50_root, out / f"data-{seed}")
        if seed == 2:
            (root / "audio" / "1-0-0.wav").write_bytes(b"")
        if seed == 3:
            table = root / "meta" / "esc50.csv"
            table.write_text(table.read_text().replace("1-3-1.wav", "another.wav"))
            (root / "audio" / "1-3-1.wav").rename(root / "audio" / "another.wav")
        wanted = load_recipe(recipe, (f"data.root={root}", f"seed={seed}", "steps=2", "metric=accuracy"))
        train(wanted, out / f"seed-{seed}", device="cpu", quiet=True)
    return [out / f"seed-{seed}" for seed in (1, 2, 3)]


def test_a_result_says_which_clips_it_is_of(seeds: list[Path]) -> None:
    result = json.loads((seeds[0] / "result.json").read_text())
    ids = (seeds[0] / "test_ids.txt").read_text()
    assert ids.splitlines() == [f"1-{target}-{take}.wav" for target in range(4) for take in range(2)]
    assert result["test_ids_sha256"] == hashlib.sha256(ids.encode()).hexdigest()


def test_runs_tested_on_other_clips_are_refused_with_the_difference(seeds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"seed-2: tested on other clips than .*: only the latter has '1-0-0.wav'$"):
        summarise_runs(seeds[:2])
    with pytest.raises(RecipeError, match=r"only the former has 'another.wav'; only the latter has '1-3-1.wav'$"):
        summarise_runs([seeds[0], seeds[2]])
    without = [shutil.copytree(folder, tmp_path / folder.name) for folder in seeds[:2]]
    for folder in without:
        (folder / "test_ids.txt").unlink()
    with pytest.raises(RecipeError, match=r"7 clips \(ids [0-9a-f]{12}\), not 8 \(ids [0-9a-f]{12}\)$"):
        summarise_runs(without)
    for folder in without:  # as in results of older versions
        result = json.loads((folder / "result.json").read_text())
        del result["test_ids_sha256"]
        (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(RecipeError, match=r"seed-2: tested on other clips than .*seed-1: 7 clips, not 8$"):
        summarise_runs(without)


def test_runs_tested_on_the_same_clips_say_so(seeds: list[Path], tmp_path: Path) -> None:
    again = shutil.copytree(seeds[0], tmp_path / "again")
    recipe = json.loads((again / "recipe.json").read_text())
    recipe["question"]["seed"] = 9
    (again / "recipe.json").write_text(json.dumps(recipe))
    found = summarise_runs([seeds[0], again])
    sha256 = json.loads((again / "result.json").read_text())["test_ids_sha256"]
    assert (found.clips, found.ids_sha256) == ((8, 8), (sha256, sha256))
    assert f"test sets of 8 clips (ids {sha256[:12]})" in runs_table(found)


def test_folds_must_be_whole_and_their_own(folds: list[Path], seeds: list[Path], tmp_path: Path) -> None:
    assert summarise_runs(folds).clips == (8,) * 5
    assert len(set(summarise_runs(folds).ids_sha256)) == 5
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folds[:2]]
    result = json.loads((copies[1] / "result.json").read_text())
    (copies[1] / "result.json").write_text(json.dumps(result | {"test_skipped": 2}))
    with pytest.raises(RecipeError, match=r"fold-2: 2 clips of its fold could not be read, .*; mend or fetch them"):
        summarise_runs(copies)
    (copies[1] / "result.json").write_text(json.dumps(result))
    (copies[1] / "test_ids.txt").write_text("2-0-0.wav\n1-0-0.wav")
    with pytest.raises(RecipeError, match=r"fold-2: tested on '1-0-0.wav', as .*fold-1 was, though they are different"):
        summarise_runs(copies)


def test_scores_of_another_kind_are_refused(folds: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(folds[1], tmp_path / "other")
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"activation": "softmax"}))
    with pytest.raises(RecipeError, match=r"other: scored by softmax; .*fold-1 by sigmoid"):
        summarise_runs([folds[0], other])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", b"{", r"fold-2.result\.json: damaged"),
        ("result.json", b"[]", r"fold-2.result\.json: damaged \(it lacks test, test_clips\)"),
        ("recipe.json", b"{}", r"fold-2.recipe\.json: damaged \(it lacks question\)"),
        ("recipe.json", b'{"question": {}}', r"fold-2.recipe\.json: damaged: its question lacks data"),
        ("recipe.json", None, r"fold-2.recipe\.json: damaged .*No such file"),
        ("log.jsonl", b"[1]\n", r"fold-2.log\.jsonl: line 1 is not an event of a run"),
        ("log.jsonl", b'{"event": "val", "step": 4}\n', r"fold-2.log\.jsonl: the val of step 4 lacks accuracy"),
    ],
)
def test_a_damaged_run_is_named(
    folds: list[Path], tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    copy = shutil.copytree(folds[1], tmp_path / "fold-2")
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        summarise_runs([folds[0], copy])
