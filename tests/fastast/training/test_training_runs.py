"""Runs that are refused before the first step, resumed runs (inputs, log, times, corrupt clips), and damaged files."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastast.checkpoints import load_checkpoint, load_model
from fastast.data.folders import FolderSet
from fastast.data.layouts.esc50 import ESC50
from fastast.data.training_set import DataError, DataNotFoundError, DataWarning
from fastast.frontend import Frontend
from fastast.teachers import load_teacher
from fastast.training.distributed import World
from fastast.training.evaluation.command import evaluate_command
from fastast.training.evaluation.evaluate import evaluate
from fastast.training.evaluation.summary import summarise_runs
from fastast.training.loop import train
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe
from fastast.training.record_recipe import record_recipe
from fastast.training.run_folder.checkpoint import ResumeError, State, save_state
from fastast.training.run_folder.logging import RunLog, read_log
from fastast.training.scoring import Scoring
from fastast.training.trainer import Trainer
from tests.fastast.training.conftest import stopped

CNN = ("model={name='efficientnet_b0', options={num_frames=100}}",)
PATCHOUT = ("model.options.patchout_time=1",)


def run(recipe: Path, folder: Path, *settings: str, resume: bool = False) -> dict[str, Any]:
    return train(load_recipe(str(recipe), settings), folder, resume=resume, device="cpu", quiet=True)


def test_splits_of_other_classes_are_refused_and_shared_clips_are_warned_of(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ESC50.split

    def split(self: ESC50, name: str) -> Any:
        data = whole(self, "train")
        return data if name == "train" else FolderSet(data.classes[::-1], data.entries[:1], task=data.task)

    monkeypatch.setattr(ESC50, "split", split)
    with pytest.raises(DataError, match="classes of the split val are not those of train: the same names in another"):
        run(recipe_file, tmp_path / "run")
    monkeypatch.setattr(ESC50, "split", lambda self, name: whole(self, "train"))
    monkeypatch.setattr("fastast.training.loop.check_clips", refuse)
    with (
        pytest.warns(DataWarning, match="32 clips of the 32 in the split test are in train too"),
        pytest.raises(DataError),
    ):
        run(recipe_file, tmp_path / "run")


def refuse(*arguments: Any) -> None:
    raise DataError("seen enough")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["run.evaluate=['constant:500']"], r"run\.evaluate: constant:500: .*can remove"),
        ([*CNN, "run.evaluate=['constant:1']"], r"run\.evaluate: efficientnet_b0 has no tokens to merge"),
        ([*CNN, "reduction.r=1"], r"reduction: efficientnet_b0 has no tokens to merge"),
        ([*PATCHOUT, "reduction.r=1"], r"reduction: model\.options has patchout too"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_folder_is_made(
    recipe_file: Path, tmp_path: Path, settings: Sequence[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(recipe_file, tmp_path / "run", *settings)
    assert not (tmp_path / "run").exists()


def test_a_test_set_that_is_not_whole_is_noticed_before_the_first_step(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ESC50.split

    def split(self: ESC50, name: str) -> Any:
        if name == "test":
            raise DataNotFoundError("a clip of the test set is not there")
        return whole(self, name)

    monkeypatch.setattr(ESC50, "split", split)
    with pytest.raises(DataNotFoundError, match="a clip of the test set"):
        run(recipe_file, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_with_patchout_is_measured_merged(recipe_file: Path, tmp_path: Path) -> None:
    found = run(recipe_file, tmp_path / "run", *PATCHOUT, "run.evaluate=['constant:0', 'constant:2']", "steps=2")
    assert set(found["test"]) == {"constant:0", "constant:2"}


def test_attention_in_proportion_to_size_is_a_choice_of_training_and_evaluation(
    recipe_file: Path, tmp_path: Path
) -> None:
    """One step from the same initial weights differs, as tokens have sizes in the second block."""
    settings = ("reduction.r=4", "steps=1")
    weighted, plain = (
        (run(recipe_file, tmp_path / name, *settings, *more), load_file(tmp_path / name / "model.safetensors"))
        for name, more in (("weighted", ()), ("plain", ("reduction.proportional=false",)))
    )
    assert any(not torch.equal(weighted[1][key], plain[1][key]) for key in weighted[1])
    assert weighted[0]["test"].keys() == plain[0]["test"].keys() == {"constant:4"}


def test_the_log_says_what_the_steps_attend_with(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(name: str, *settings: str) -> str:
        run(recipe_file, tmp_path / name, "steps=1", *settings)
        events = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        return next(event["attention"] for event in events if event["event"] == "start")

    monkeypatch.setattr("fastast.attention.proportional.multiplies_bfloat16", lambda: True)
    assert said("single") == "mask"
    assert said("half", "precision=bfloat16") == "products"
    assert said("cnn", *CNN) == ""


def test_stored_answers_that_will_not_last_are_noticed_before_the_first_step(recipe_file: Path, tmp_path: Path) -> None:
    run(recipe_file, tmp_path / "teacher")
    taught = (f"distillation.teacher={tmp_path / 'teacher' / 'model.safetensors'}", "seed=1")
    answers = tmp_path / "answers.safetensors"
    record_recipe(load_recipe(str(recipe_file), (*taught, "steps=3")), answers, k=4, device="cpu")
    settings = (*taught, f"distillation.targets={answers}")
    with pytest.raises(ValueError, match=r"the answers to 3 batches of this training are not stored, only those to 3"):
        run(recipe_file, tmp_path / "run", *settings, "steps=6")
    assert not (tmp_path / "run").exists()
    assert run(recipe_file, tmp_path / "run", *settings, "steps=3")["steps"] == 3


def test_other_files_under_the_same_names_are_refused(
    recipe_file: Path, esc50_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        run(recipe_file, tmp_path / name, f"seed={seed}", "steps=2")
    weights, root = tmp_path / "weights.safetensors", tmp_path / "data"
    shutil.copy(tmp_path / "one" / "model.safetensors", weights)
    shutil.copytree(esc50_root, root)
    for key in ("model.checkpoint", "distillation.teacher"):
        folder, settings = tmp_path / key, (f"{key}={weights}", f"data.root={root}", "run.checkpoint_every=4")
        stopped(recipe_file, folder, *settings, at=4, patch=monkeypatch)
        shutil.copy(tmp_path / "two" / "model.safetensors", weights)
        with pytest.raises(ResumeError, match=rf"other files under the same names: {key} is "):
            run(recipe_file, folder, *settings, resume=True)
        shutil.copy(tmp_path / "one" / "model.safetensors", weights)
    table = root / "meta" / "esc50.csv"
    whole = table.read_text()
    table.write_text("\n".join(line for line in whole.splitlines() if not line.startswith("5-3-")))
    with pytest.raises(ResumeError, match=r"data\.clips is 30 here, but 32 there"):
        run(recipe_file, folder, *settings, resume=True)
    table.write_text(whole)
    assert run(recipe_file, folder, *settings, resume=True)["steps"] == 12


@pytest.mark.parametrize(
    ("split", "old", "new"), [("train", "2-1-0.wav", "other.wav"), ("test", "1-1-0.wav", "other.wav")]
)
def test_as_many_other_clips_are_other_clips(
    recipe_file: Path, esc50_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, old: str, new: str
) -> None:
    root = tmp_path / "data"
    shutil.copytree(esc50_root, root)
    settings = (f"data.root={root}", "run.checkpoint_every=4")
    folder = tmp_path / "run"
    stopped(recipe_file, folder, *settings, at=4, patch=monkeypatch)
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(old, new))
    (root / "audio" / old).rename(root / "audio" / new)
    with pytest.raises(ResumeError, match=rf"other files under the same names: data.{split}_ids is "):
        run(recipe_file, folder, *settings, resume=True)


@pytest.mark.parametrize(("split", "fold"), [("train", 2), ("test", 1)])
def test_other_labels_and_other_audio_under_the_same_names_are_refused(
    recipe_file: Path, esc50_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, fold: int
) -> None:
    root = tmp_path / "data"
    shutil.copytree(esc50_root, root)
    settings = (f"data.root={root}", "run.checkpoint_every=4")
    stopped(recipe_file, tmp_path / "run", *settings, at=4, patch=monkeypatch)
    clip, table = root / "audio" / f"{fold}-0-0.wav", root / "meta" / "esc50.csv"
    for path, old, new, part in (
        (clip, clip.read_bytes()[200:300], b"\1\2" * 50, "sounds"),
        (table, f"{fold}-0-0.wav,{fold},0,dog".encode(), f"{fold}-0-0.wav,{fold},1,rain".encode(), "labels"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ResumeError, match=rf"other files under the same names: data\.{split}_{part} is "):
            run(recipe_file, tmp_path / "run", *settings, resume=True)
        path.write_bytes(whole)  # the modification time changes, but does not count
    assert run(recipe_file, tmp_path / "run", *settings, resume=True)["steps"] == 12


def test_answers_that_were_recorded_anew_are_refused(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe_file, tmp_path / "teacher", "steps=2")
    taught, path = (
        f"distillation.teacher={tmp_path / 'teacher' / 'model.safetensors'}",
        tmp_path / "answers.safetensors",
    )
    recipe = load_recipe(str(recipe_file), (taught,))
    record_recipe(recipe, path, k=4)
    settings = (taught, f"distillation.targets={path}", "run.checkpoint_every=4")
    stopped(recipe_file, tmp_path / "run", *settings, at=4, patch=monkeypatch)
    record_recipe(recipe, path, k=1)
    with pytest.raises(ResumeError, match=r"other files under the same names: distillation\.targets is "):
        run(recipe_file, tmp_path / "run", *settings, resume=True)


def test_a_run_of_before_the_ids_were_kept_goes_on(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(recipe_file, tmp_path / "run", "run.checkpoint_every=4", at=4, patch=monkeypatch)
    path = tmp_path / "run" / "recipe.json"
    content = json.loads(path.read_text())
    kept = {"data.clips", "data.classes"}
    assert content["inputs"].keys() - kept == {
        f"data.{split}_{part}" for split in ("train", "val", "test") for part in ("ids", "labels", "sounds")
    }
    content["inputs"] = {key: content["inputs"][key] for key in kept}
    path.write_text(json.dumps(content))
    assert run(recipe_file, tmp_path / "run", "run.checkpoint_every=4", resume=True)["steps"] == 12


def test_a_corrupt_clip_is_counted_though_the_run_stopped_before_its_line(
    recipe_file: Path, esc50_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(esc50_root, root)
    (root / "audio" / "2-1-0.wav").write_bytes(b"RIFFhalf")
    settings = (f"data.root={root}", "steps=6", "run.checkpoint_every=1", "run.log_every=100")
    whole = run(recipe_file, tmp_path / "whole", *settings)
    met = next(e["step"] for e in read_log(tmp_path / "whole") if e["event"] == "corrupt" and "split" not in e)
    assert met < 4, "the clip is met after the epoch's line, which tells of it"
    stopped(recipe_file, tmp_path / "run", *settings, at=met, patch=monkeypatch)
    assert run(recipe_file, tmp_path / "run", *settings, resume=True)["corrupt"] == whole["corrupt"] != {}


def test_time_of_training_is_that_of_training(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]  # seconds added to the clock: a minute from the evaluation after the first epoch on

    def slowly(*arguments: Any, **options: Any) -> Any:
        passed[0] = 60.0
        return evaluate(*arguments, **options)

    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + passed[0])
    monkeypatch.setattr("fastast.training.progress.time", clock)
    monkeypatch.setattr("fastast.training.scoring.evaluate", slowly)
    result = run(recipe_file, tmp_path / "run", "steps=0", "epochs=2", "run.log_every=1")
    events = read_log(tmp_path / "run")
    assert result["seconds"] < 60
    assert [event["seconds"] < 60 for event in events if event["event"] == "epoch"] == [True, True]
    assert all(event["clips_per_second"] > 8 / 60 for event in events if event["event"] == "train")


def test_the_board_has_every_step_of_a_run_that_went_on(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = ("steps=6", "run.log_every=1", "run.checkpoint_every=3")
    stopped(recipe_file, tmp_path / "run", *settings, at=3, patch=monkeypatch)
    run(recipe_file, tmp_path / "run", *settings, resume=True)
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    assert [point.step for point in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_two_processes_measure_the_weights_that_are_kept(recipe_file: Path, tmp_path: Path) -> None:
    """Batch-norm statistics differ between processes; those of the first are measured and written."""
    folder = tmp_path / "two"
    options = [word for setting in (*CNN, "steps=4", "optimiser.lr=1e-2") for word in ("-s", setting)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fastast.cli",
        "train", str(recipe_file), "--out", str(folder), "--device", "cpu", "-q", *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    recipe = load_recipe(str(recipe_file), CNN)
    test = recipe.data.options.split("test")
    teacher = load_teacher(str(folder / "model.safetensors"), num_classes=4)
    from fastast.frontend import Normalisation
    from fastast.training.weights.build import recipe_frontend

    normalisation = Normalisation(mean=recipe.normalisation.mean, std=recipe.normalisation.std)
    found = evaluate(teacher, test, recipe_frontend(teacher, recipe.model, normalisation)).metrics[""]
    result = json.loads((folder / "result.json").read_text())["test"]["unmerged"]
    assert (result["mAP"], result["AUC"]) == pytest.approx((found.mAP, found.AUC), abs=1e-6)


def test_stored_answers_by_clip_need_none_to_a_corrupt_one(recipe_file: Path, esc50_root: Path, tmp_path: Path) -> None:
    """The teacher's answer is looked up for the clip that takes the corrupt one's place."""
    root = tmp_path / "broken"
    shutil.copytree(esc50_root, root)
    (root / "audio" / "2-1-0.wav").write_bytes(b"RIFFhalf")
    run(recipe_file, tmp_path / "teacher")
    settings = (
        f"distillation={{teacher='{tmp_path / 'teacher' / 'model.safetensors'}', consistent=false}}",
        f"data.root={root}",
        "seed=1",
    )
    answers = tmp_path / "answers.safetensors"
    record_recipe(load_recipe(str(recipe_file), settings), answers, k=4, device="cpu")
    result = run(recipe_file, tmp_path / "run", *settings, f"distillation.targets={answers}")
    assert len(result["corrupt"]) == 1


def test_a_cnn_that_goes_on_comes_to_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    """Its weights are channels-last in memory, the order in which fused optimisers work, but row-major in files."""
    settings = ("model={name='resnet10t', options={num_frames=100}}", "steps=4", "run.checkpoint_every=1")
    run(recipe_file, tmp_path / "whole", *settings)
    stopped(recipe_file, tmp_path / "stopped", *settings, at=2, patch=pytest.MonkeyPatch())
    run(recipe_file, tmp_path / "stopped", *settings, resume=True)
    whole, gone_on = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert [key for key in whole if not torch.equal(whole[key], gone_on[key])] == []


def test_a_schedule_that_is_named_twice_is_measured_once(recipe_file: Path, tmp_path: Path) -> None:
    def tested(folder: str, *settings: str) -> dict[str, Any]:
        return run(recipe_file, tmp_path / folder, "steps=2", "run.eval_batch=4", *settings)["test"]

    once = tested("once", "run.evaluate=['constant:0']")
    assert tested("twice", "run.evaluate=['constant:0', 'constant:0']") == once
    drawn = "reduction.r=[0, 0, 1]"  # 0 is drawn twice as often as 1
    apart = tested("apart", drawn, "run.evaluate=['constant:0', 'constant:1']")
    assert tested("drawn", drawn) == apart
    trained = (str(tmp_path / "once" / "model.safetensors"), str(recipe_file), ["run.eval_batch=4"])
    said = (
        json.loads(evaluate_command(*trained, ["constant:0"] * times, split="test", device="cpu", as_json=True))
        for times in (1, 2)
    )
    assert next(said)["metrics"] == next(said)["metrics"] == once
    model = load_model(trained[0])
    data = load_recipe(str(recipe_file)).data.options.split("test")
    with pytest.raises(ValueError, match=r"evaluate: 'a' is given twice"):
        evaluate(model, data, Frontend(model.geometry, model.normalisation, check=False), [("a", None), ("a", None)])


def have_had_the_best(folder: Path) -> None:
    """Set the best score in a run's state to more than any score can be."""
    (path,) = folder.glob("state-*/state.json")
    state = json.loads(path.read_text())
    state["notes"]["best"] = 2.0
    path.write_text(json.dumps(state))


def test_the_best_weights_are_chosen_anew_under_another_schedule(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier best score is higher than any can be, so under the earlier schedule it would stay."""
    settings = ("steps=8", "run.checkpoint_every=2", "run.evaluate_every=2")

    def goes_on(name: str, first: str) -> dict[str, Any]:
        folder = tmp_path / name
        stopped(recipe_file, folder, *settings, "run.evaluate=['constant:0']", at=4, patch=monkeypatch)
        have_had_the_best(folder)
        return run(recipe_file, folder, *settings, f"run.evaluate=['{first}', 'constant:0']", resume=True)

    assert goes_on("same", "constant:0")["best_val"] == 2
    result = goes_on("other", "constant:1")
    events = read_log(tmp_path / "other")
    assert result["best_val"] == max(event["mAP"] for event in events if event["event"] == "val constant:1")
    assert result["best_step"] > 4
    assert [event["text"] for event in events if "chosen under constant:0" in event.get("text", "")] != []


def test_the_best_weights_are_those_that_the_result_names(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is killed after an evaluation that no state records, and resumes without evaluating at that step again."""
    folder, often = tmp_path / "run", ("steps=12", "run.checkpoint_every=4")
    validate = Scoring.validate

    def killed(self: Scoring, done: int) -> None:
        if done == 6:
            self.best = None  # so that this step is the best, whatever the scores on this machine
        validate(self, done)
        if done == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Scoring, "validate", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe_file, folder, *often, "run.evaluate_every=1")
    have_had_the_best(folder)
    best = folder / "best.safetensors"
    assert load_checkpoint(best).training["step"] == 6  # type: ignore[index]
    result = run(recipe_file, folder, *often, "run.evaluate_every=100", resume=True)
    assert load_checkpoint(best).training["step"] == result["best_step"] == 12  # type: ignore[index]
    found = json.loads(evaluate_command(str(best), str(recipe_file), (), (), split="val", device="cpu", as_json=True))
    assert found["metrics"]["unmerged"]["mAP"] == result["best_val"]
    warnings = [event["text"] for event in read_log(folder) if event["event"] == "warning"]
    assert [text for text in warnings if "holds the weights after step 6, which this run has yet to" in text] != []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["augmentation.freq_mask=200"], r"augmentation\.freq_mask is 200; the filterbank has 128 mel bins"),
        (["augmentation.time_mask=33"], r"augmentation\.time_mask is 33; the filterbank has 32 frames"),
        (["model={name='vit_tiny_patch16_224'}"], r"model\.name: vit_tiny_patch16_224 cannot be trained on 8 clips at"),
        (
            ["model={name='resnet10t', options={num_frames=32}}", "accumulation=8", "model.options.average_bins=4"],
            r"model\.name: resnet10t cannot be trained on 1 clips at once of 32 frames .* larger batch",
        ),
    ],
)
def test_what_would_fail_in_the_first_step_is_refused_before(
    recipe_file: Path, tmp_path: Path, settings: Sequence[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run(recipe_file, tmp_path / "run", *settings)
    assert not (tmp_path / "run").exists()


def test_a_split_of_which_nothing_can_be_scored_is_refused(recipe_file: Path, esc50_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(esc50_root, root)
    for clip in (root / "audio").glob("1-*"):  # the test fold
        clip.write_bytes(b"RIFFhalf")
    with pytest.raises(DataError, match=r"the split val of esc50 has no clip .* label, .*the first says: .*1-0-0\.wav"):
        run(recipe_file, tmp_path / "run", f"data.root={root}")
    assert not (tmp_path / "run").exists()


def test_cross_entropy_is_for_clips_of_one_label(recipe_file: Path, tmp_path: Path) -> None:
    several = ["loss=ce", "data={name='soundscapes', train_clips=8, val_clips=2, test_clips=2}"]
    with pytest.raises(
        RecipeError, match=r"loss is 'ce', for clips with one label; those of soundscapes can have several"
    ):
        run(recipe_file, tmp_path / "run", *several)
    with pytest.raises(RecipeError, match=r"augmentation\.mixup_labels is 'union', .* but loss = 'ce' allows one"):
        load_recipe(str(recipe_file), ["loss=ce", "augmentation={mixup_rate=0.5, mixup_labels='union'}"])
    assert load_recipe(str(recipe_file), ["loss=ce", "augmentation={mixup_rate=0.5}"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_names_that_are_not_utf8_are_names(esc50_root: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Names of a class and of clips in every split; two corrupt clips, one with a line separator in its name."""
    for split in ("train", "val", "test"):
        for folder, category in ((b"dog", 0), (b"caf\xe9", 1)):
            place = os.path.join(os.fsencode(tmp_path / "data" / split), folder)
            os.makedirs(place)
            for take, file in enumerate(sorted((esc50_root / "audio").glob(f"*-{category}-*.wav"))):
                shutil.copy(file, os.path.join(place, b"%d\xe9.wav" % take))
    corrupt = tmp_path / "data" / "train" / "dog"
    (corrupt / "x\u2028y.wav").write_bytes(b"RIFFhalf")
    (corrupt / os.fsdecode(b"z\xe9.wav")).write_bytes(b"RIFFhalf")
    settings = ("data.name=audio_folder", f"data.root={tmp_path / 'data'}", "steps=0", "epochs=1")
    found = run(recipe_file, tmp_path / "run", *settings)
    assert {Path(name).name for name in found["corrupt"]} == {"x\u2028y.wav", os.fsdecode(b"z\xe9.wav")}
    assert found == json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    events = read_log(tmp_path / "run")
    assert {event["clip"] for event in events if event["event"] == "corrupt"} == set(found["corrupt"])
    ids = (tmp_path / "run" / "test_ids.txt").read_bytes()
    assert hashlib.sha256(ids).hexdigest() == found["test_ids_sha256"]
    assert ids.count(b"caf\xe9") == 10
    assert load_model(tmp_path / "run" / "model.safetensors").labels == (os.fsdecode(b"caf\xe9"), "dog")
    run(recipe_file, tmp_path / "again", *settings, "seed=1")
    summarise_runs([tmp_path / "run", tmp_path / "again"])


def test_a_log_of_before_with_separators_of_lines_in_names_is_whole(tmp_path: Path) -> None:
    events = [{"event": "corrupt", "step": step, "clip": "a\u2028b\x85c"} for step in (1, 2)]
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    (tmp_path / "log.jsonl").write_text(text + '{"event": "tr', encoding="utf-8")
    assert read_log(tmp_path) == events


STATE = b'{"version": 1, "step": %s, "tensors": ["model", "optimiser"], "notes": %s}'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", b"[1]\n", r"log\.jsonl: line 1 is not an event of a run, .*move the file away"),
        ("log.jsonl", b'{"event": "train", "step": 2}\n\xff\xfe\n', r"log\.jsonl: line 2 is not an event of a run"),
        ("state.json", b"\xff", r"state-000000004: the state of the run is damaged .*--out"),
        ("state.json", b"[]", r"state-000000004: the state of the run is damaged"),
        ("state.json", STATE % (b'"4"', b"{}"), r"damaged \(step is '4', notes are {}\)"),
        ("state.json", STATE % (b"4", b"[]"), r"damaged \(step is 4, notes are \[\]\)"),
        ("model.safetensors", b"xx", r"state-000000004: the state of the run is damaged"),
        ("recipe.json", b"\xff", r"recipe\.json: damaged .*--out"),
        ("recipe.json", b"{}", r"recipe\.json: damaged \(it lacks question\)"),
        ("recipe.json", b'{"question": []}', r"recipe\.json: damaged \(question and inputs must be tables\)"),
        ("result.json", b"{", r"result\.json: damaged .*move it away to resume the run from its last state"),
        ("result.json", b"[]", r"result\.json: damaged \(it lacks test\)"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    stopped(recipe_file, tmp_path / "run", "run.checkpoint_every=4", at=4, patch=monkeypatch)
    path = next((tmp_path / "run").rglob(name), tmp_path / "run" / name)
    path.write_bytes(content)
    with pytest.raises(ResumeError, match=message):
        run(recipe_file, tmp_path / "run", "run.checkpoint_every=4", resume=True)


def test_a_state_of_another_training_is_named(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings in (("one", ()), ("two", ("model.options.depth=1",))):
        stopped(recipe_file, tmp_path / name, "run.checkpoint_every=4", *settings, at=4, patch=monkeypatch)
    shutil.rmtree(tmp_path / "one" / "state-000000004")
    (tmp_path / "two" / "state-000000004").rename(tmp_path / "one" / "state-000000004")
    with pytest.raises(ResumeError, match=r"one: the state after step 4 is not one of this training"):
        run(recipe_file, tmp_path / "one", "run.checkpoint_every=4", resume=True)


def test_a_lack_of_memory_says_nothing_of_the_state(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(recipe_file, tmp_path / "run", "run.checkpoint_every=4", at=4, patch=monkeypatch)

    def load(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as context:
        context.setattr(Trainer, "load", load)
        with pytest.raises(torch.OutOfMemoryError, match=r"^CUDA out of memory\. Tried to allocate"):
            run(recipe_file, tmp_path / "run", "run.checkpoint_every=4", resume=True)
    assert run(recipe_file, tmp_path / "run", "run.checkpoint_every=4", resume=True)["steps"] == 12


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(step=1, notes={}, tensors={"model": {"weight": torch.ones(3)}})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"No space left on device: the state was not saved: '.*state-000000001'"):
            save_state(tmp_path, state)
    save_state(tmp_path, state)
    with monkeypatch.context() as context:
        context.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"was not saved, but the previous one is still there: '.*state-000000002'"):
            save_state(tmp_path, dataclasses.replace(state, step=2))
    log = RunLog(tmp_path, World(), total_steps=1, step=0, quiet=True)
    log._file = SimpleNamespace(write=full, flush=full, close=full)  # type: ignore[assignment]
    with pytest.raises(OSError, match=r"No space left on device: the run stopped after step 1; .*log\.jsonl"):
        log.event("train", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_a_log_on_a_full_disk_says_what_to_do_and_closing_it_says_nothing_else(tmp_path: Path) -> None:
    log = RunLog(tmp_path, World(), total_steps=9, step=0, quiet=True)
    log._file.close()
    said = r"No space left on device: the run stopped after step 7; make room, and resume with --resume: '.*log\.jsonl'"
    with Path("/dev/full").open("w", encoding="utf-8") as log._file, pytest.raises(OSError, match=said), closing(log):
        log.event("train", 7)


def test_a_training_says_how_many_clips_were_cut(recipe_file: Path, tmp_path: Path) -> None:
    """A quarter of a second has 1 + (4,000 - 400) // 160 = 23 frames."""

    def cut(name: str, *settings: str) -> list[dict[str, Any]]:
        run(recipe_file, tmp_path / name, "steps=1", *settings)
        return [event for event in read_log(tmp_path / name) if event["event"] == "cut"]

    assert cut("whole") == []
    found = cut("short", "model.options.num_frames=16")
    assert [(event["split"], event["step"], event["clips"], event["of"]) for event in found] == [
        ("val", 1, 8, 8),
        ("test", 1, 8, 8),
    ]
    assert [event["heard_seconds"] for event in found] == pytest.approx([0.175] * 2)  # 0.025 + 15 * 0.01
