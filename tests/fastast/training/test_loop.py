"""Training runs: resuming after a kill, several processes, steps in parts, and errors that stop a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fastast.checkpoints import load_model
from fastast.training import trainer
from fastast.training.evaluation.evaluate import evaluate
from fastast.training.loop import train
from fastast.training.not_finite import NotFiniteError
from fastast.training.recipe.file import load_recipe
from fastast.training.run_folder.checkpoint import ResumeError
from fastast.training.run_folder.logging import read_log
from fastast.training.trainer import Trainer
from tests.fastast.training.conftest import stopped

EVERYTHING = (
    "model.drop_path_rate=0.2",
    "reduction.r=[0, 2, 4]",
    "augmentation={mixup_rate=0.5, gain_db=3.0, freq_mask=20, time_mask=8, noise=0.1, shift_frames=3}",
    "schedule={name='cosine', warmup_steps=3}",
    "optimiser.clip_norm=1.0",
    "data.sampler=balanced",
)
RUN = "import sys, torch; torch.set_num_threads(1); from fastast.cli import app; app()"


def run(recipe: Path, folder: Path, *settings: str, resume: bool = False) -> dict[str, Tensor]:
    train(load_recipe(str(recipe), settings), folder, resume=resume, device="cpu", quiet=True)
    return load_file(folder / "model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def start(recipe: Path, folder: Path, *settings: str) -> subprocess.Popen[bytes]:
    options = [word for setting in settings for word in ("-s", setting)]
    command = [sys.executable, "-c", RUN, "train", str(recipe), "--out", str(folder), "--device", "cpu", "-q", *options]
    return subprocess.Popen(command)


def kill_after(process: subprocess.Popen[bytes], folder: Path, step: int) -> int:
    """Kill a run as soon as its log reaches a step; return the number of steps in the last state it left."""
    deadline = time.monotonic() + 120
    try:
        while time.monotonic() < deadline and process.poll() is None:
            if (folder / "log.jsonl").exists() and any(event["step"] >= step for event in read_log(folder)):
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    states = [int(path.name.removeprefix("state-")) for path in folder.glob("state-*")]
    return max(states, default=0)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(recipe_file: Path, tmp_path: Path) -> None:
    settings = (
        *EVERYTHING,
        "steps=0",
        "epochs=8",
        "run.log_every=1",
        "run.checkpoint_every=1",
        "ema_decay=0.9",
    )
    whole = run(recipe_file, tmp_path / "whole", *settings)
    folder = tmp_path / "killed"
    step = 1 + int.from_bytes(os.urandom(1), "little") % 12
    left = kill_after(start(recipe_file, folder, *settings), folder, step)
    assert left < 32, f"killed after step {step}, and it was done"
    assert same(run(recipe_file, folder, *settings, resume=True), whole), f"killed at {step}, went on at {left}"
    events = read_log(folder)
    # The log has every step once, and the steps that the killed run had written are those of an uninterrupted run.
    losses = [(event["step"], event["loss"]) for event in events if event["event"] == "train"]
    expected = read_log(tmp_path / "whole")
    assert losses == [(event["step"], event["loss"]) for event in expected if event["event"] == "train"]
    best = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    assert best[0]["test"] == best[1]["test"]
    assert (best[0]["best_val"], best[0]["best_step"]) == (best[1]["best_val"], best[1]["best_step"])


def test_the_mean_of_epochs_outlives_a_run_that_is_stopped(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*EVERYTHING, "steps=0", "epochs=5", "average_epochs=[2, 4]", "run.checkpoint_every=3")
    whole = run(recipe_file, tmp_path / "whole", *settings)
    stopped(recipe_file, tmp_path / "stopped", *settings, at=15, patch=monkeypatch)  # between epochs 3 and 4
    assert same(run(recipe_file, tmp_path / "stopped", *settings, resume=True), whole)


def test_memory_is_that_of_training_in_all_processes_that_went_on(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("steps=6", "run.checkpoint_every=2", "run.evaluate_every=3")
    peaks = {"now": 900}
    monkeypatch.setattr("fastast.training.progress.peak_memory_mib", lambda device: peaks["now"])

    def evaluated(*arguments: Any, **options: Any) -> Any:
        peaks["now"] = 5_000  # memory that the evaluation takes on top
        return evaluate(*arguments, **options)

    monkeypatch.setattr("fastast.training.scoring.evaluate", evaluated)
    stopped(recipe_file, tmp_path / "run", *settings, at=4, patch=monkeypatch)
    peaks["now"] = 100  # the process that resumes has two steps left
    run(recipe_file, tmp_path / "run", *settings, resume=True)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["peak_memory_mib"] == 900


def test_a_seed_makes_the_weights_and_another_seed_makes_others(recipe_file: Path, tmp_path: Path) -> None:
    first, again, other = (
        run(recipe_file, tmp_path / name, *EVERYTHING, "steps=3", seed)
        for name, seed in (("a", "seed=1"), ("b", "seed=1"), ("c", "seed=2"))
    )
    assert same(first, again)
    assert not same(first, other)


def test_a_step_in_parts_is_the_step_at_once(recipe_file: Path, tmp_path: Path) -> None:
    settings = ("precision=float64", "reduction.r=[0, 3]", "optimiser.clip_norm=0.5")
    at_once = run(recipe_file, tmp_path / "a", *settings)
    for parts in (2, 8):
        in_parts = run(recipe_file, tmp_path / f"b{parts}", *settings, f"accumulation={parts}")
        for key, value in at_once.items():
            torch.testing.assert_close(in_parts[key], value, rtol=1e-6, atol=1e-7)  # stored in float32


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(recipe_file: Path, tmp_path: Path) -> None:
    settings = ("precision=float64", "reduction.r=[0, 3]", "accumulation=2", "ema_decay=0.9")
    alone = run(recipe_file, tmp_path / "alone", *settings)
    options = [word for setting in settings for word in ("-s", setting)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fastast.cli",
        "train", str(recipe_file), "--out", str(tmp_path / "two"), "--device", "cpu", "-q", *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["steps"] == 12  # printed by one process only
    both = load_file(tmp_path / "two" / "model.safetensors")
    for key, value in alone.items():
        torch.testing.assert_close(both[key], value, rtol=1e-6, atol=1e-7)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", "two")]
    assert results[0]["test_clips"] == results[1]["test_clips"] == 8
    assert results[0]["test"] == results[1]["test"]
    assert read_log(tmp_path / "two")[0]["processes"] == 2


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_mean_of_epochs_is_the_mean_of_their_weights(recipe_file: Path, tmp_path: Path, precision: str) -> None:
    """Compared with runs of 1, 2 and 3 epochs at the same rate, two of which end at the averaged epochs."""
    settings = ("steps=0", "optimiser.name=adam", f"precision={precision}")
    ends = [run(recipe_file, tmp_path / f"{n}", *settings, f"epochs={n}") for n in (1, 2, 3)]
    mean = run(recipe_file, tmp_path / "mean", *settings, "epochs=3", "average_epochs=[2, 3]")
    for key, value in mean.items():
        torch.testing.assert_close(value, (ends[1][key] + ends[2][key]) / 2, rtol=1e-6, atol=1e-8)
    assert not same(ends[0], ends[1])


def test_what_is_kept_lies_on_the_line_to_the_start(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with the same run that keeps its own weights; a resumed run has the same start."""
    start = run(recipe_file, tmp_path / "start")
    settings = (f"model.checkpoint={tmp_path / 'start' / 'model.safetensors'}", "ema_decay=0.9", "seed=1")
    end = run(recipe_file, tmp_path / "end", *settings)
    assert not same(start, end)
    settings = (*settings, "start_share=0.25", "run.checkpoint_every=5")
    kept = run(recipe_file, tmp_path / "kept", *settings)
    for key, value in kept.items():
        torch.testing.assert_close(value, 0.25 * start[key] + 0.75 * end[key], rtol=1e-5, atol=1e-7)
    stopped(recipe_file, tmp_path / "stopped", *settings, at=4, patch=monkeypatch)
    assert same(run(recipe_file, tmp_path / "stopped", *settings, resume=True), kept)


def test_the_merging_of_a_step_is_drawn_from_the_list(recipe_file: Path, tmp_path: Path) -> None:
    run(recipe_file, tmp_path / "run", "reduction.r=[0, 2, 4]", "run.log_every=1", "steps=30")
    drawn = [event["merging"] for event in read_log(tmp_path / "run") if event["event"] == "train"]
    assert {drawn.count(name) > 3 for name in ("constant:0", "constant:2", "constant:4")} == {True}
    test = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert list(test) == ["constant:0", "constant:2", "constant:4"]


def test_a_finished_run_leaves_a_model_that_loads_and_a_log_for_tensorboard(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(recipe_file, folder, "optimiser.lr=1e-2", "steps=60", "optimiser.clip_norm=1.0")
    model = load_model(folder / "model.safetensors")
    assert model.labels == ("dog", "rain", "clock_tick", "siren")
    assert model.normalisation is not None
    assert model.normalisation.mean == -6.0
    assert json.loads((folder / "result.json").read_text())["test"]["unmerged"]["mAP"] > 0.25 + 0.2  # chance: 0.25
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert [point.step for point in board.Scalars("train/loss")][-1] == 60
    assert "val/mAP" in board.Tags()["scalars"]


def test_nothing_is_overwritten(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(recipe_file, folder, "steps=2")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ResumeError, match=r"not empty .* --resume, or name another folder with --out"):
        run(recipe_file, folder, "steps=2")
    with pytest.raises(ResumeError, match=r"another recipe: optimiser.lr is 0.1 here, but 0.003 there"):
        run(recipe_file, folder, "steps=2", "optimiser.lr=0.1", resume=True)
    assert run(recipe_file, folder, "steps=2", "run.workers=1", resume=True)  # finished, so nothing is left to do
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(ResumeError, match=r"there is no recipe.json in it, so this is not a run"):
        run(recipe_file, other, resume=True)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_whole_number_is_the_number_it_was(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("run.checkpoint_every=4", "optimiser.weight_decay=0.0")
    whole = run(recipe_file, tmp_path / "whole", *settings)
    stopped(recipe_file, tmp_path / "run", *settings, at=4, patch=monkeypatch)
    assert same(run(recipe_file, tmp_path / "run", settings[0], "optimiser.weight_decay=0", resume=True), whole)


def test_a_damaged_state_is_named(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(recipe_file, folder, "steps=2")
    (folder / "result.json").unlink()
    (folder / "state-000000002" / "optimiser.safetensors").write_bytes(b"half of it")
    with pytest.raises(ResumeError, match=r"state-000000002: the state of the run is damaged"):
        run(recipe_file, folder, "steps=2", resume=True)


def test_a_loss_that_is_not_finite_stops_with_one_message(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(NotFiniteError, match=r"^step 1: the loss is NaN or infinite; .* Lower optimiser.lr \(1e\+30\)"):
        run(recipe_file, folder, "optimiser.lr=1e30", "run.checkpoint_every=1")
    assert [path.name for path in folder.glob("state-*")] == ["state-000000001"]
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize("steps", [1, 12], ids=["at the end", "on the way"])
def test_weights_that_are_not_finite_are_no_checkpoint(recipe_file: Path, tmp_path: Path, steps: int) -> None:
    """The first step's loss is finite, but the weights after it are not."""
    folder = tmp_path / "run"
    with pytest.raises(NotFiniteError, match=r"^step 0: the weights after it are NaN or infinite; .* \(1e\+38\)"):
        run(recipe_file, folder, "optimiser.lr=1e38", "run.checkpoint_every=1", f"steps={steps}")
    assert list(folder.glob("state-*")) == []


def test_gradients_that_overflow_float16_at_every_scale_stop_the_training(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss and the weights stay finite: the scaler leaves out every step."""
    loss = trainer.label_loss
    monkeypatch.setattr(trainer, "label_loss", lambda *asked: loss(*asked) * 1e30)
    settings = ("precision=float16", "run.checkpoint_every=10")
    run(recipe_file, tmp_path / "short", *settings, "steps=10")  # the scale may fall as far in a training that works
    with pytest.raises(NotFiniteError, match=r"^step 27: the gradients overflow float16 at every scale of the loss"):
        run(recipe_file, tmp_path / "run", *settings, "steps=40")


def test_corrupt_clips_are_named_skipped_and_counted(
    recipe_file: Path, esc50_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(esc50_root, root)
    (root / "audio" / "2-1-0.wav").write_bytes(b"RIFFhalf")  # in the training set
    (root / "audio" / "1-0-0.wav").write_bytes(b"")  # in the test fold
    settings = (f"data.root={root}", "steps=0", "epochs=3")
    train(load_recipe(str(recipe_file), settings), tmp_path / "run", device="cpu")
    events = read_log(tmp_path / "run")
    named = [event for event in events if event["event"] == "corrupt" and "split" not in event]
    assert [Path(event["clip"]).name for event in named] == ["2-1-0.wav"]  # once, though every epoch meets it
    assert "cut off or damaged" in named[0]["fault"]
    assert [event["corrupt"] for event in events if event["event"] == "epoch"] == [1, 1, 1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["test_clips"], result["test_skipped"], len(result["corrupt"])) == (7, 1, 1)
    assert "2-1-0.wav" in capfd.readouterr().err


def test_worker_processes_change_nothing(recipe_file: Path, tmp_path: Path) -> None:
    settings = (*EVERYTHING, "steps=4")
    assert same(
        run(recipe_file, tmp_path / "a", *settings), run(recipe_file, tmp_path / "b", *settings, "run.workers=2")
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns(recipe_file: Path, tmp_path: Path, precision: str) -> None:
    run(recipe_file, tmp_path / "run", "steps=40", "optimiser.lr=1e-2", f"precision={precision}")
    losses = [event["loss"] for event in read_log(tmp_path / "run") if event["event"] == "train"]
    assert losses[-1] < 0.8 * losses[0]


def test_a_batch_that_processes_cannot_share_is_refused(recipe_file: Path) -> None:
    from fastast.data.sampling import Sampler
    from fastast.training.distributed import World

    recipe = load_recipe(str(recipe_file))
    with pytest.raises(ValueError, match=r"batch_size 8 cannot be shared by 3 processes in 1 parts"):
        Trainer(recipe, ("a",), Sampler(num_clips=8, batch_size=8, seed=0), World(size=3))
