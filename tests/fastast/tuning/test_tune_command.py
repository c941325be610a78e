"""`fastast tune` as a whole, on a very small model with random weights."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from fastast.checkpoints import load_model, save_checkpoint
from fastast.cli import app
from fastast.frontend import Normalisation
from fastast.geometry import Geometry
from fastast.hosts import reduce
from fastast.model import AudioSpectrogramTransformer
from fastast.reduction.text import read_reduction
from fastast.training.recipe.file import load_recipe
from fastast.training.weights.build import recipe_frontend
from fastast.tuning.measuring.clips import read_clips, two_halves

CLASSES = ("Music", "Percussion", "Speech", "Hi-hat", "Snare drum", "Typing")
FEW = ["--data", "smoke", "-s", "data.val_clips=40", "--min-positives", "0", "--evaluations", "5", "--rounds", "5"]
FEW += ["--batch-size", "4", "--clips", "40"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    geometry = Geometry(
        embed_dim=32, depth=3, num_heads=2, num_classes=6, num_frames=192, fstride=16, tstride=16, mlp_ratio=8.0
    )
    model = AudioSpectrogramTransformer(geometry)
    for parameter in model.parameters():  # strong enough that merging changes the answers
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    state, normalisation = model.state_dict(), Normalisation(mean=-5.3, std=3.6)
    save_checkpoint(path, state, geometry=geometry, labels=CLASSES, normalisation=normalisation)
    return str(path)


def tune(checkpoint: str, out: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tune", checkpoint, *FEW, "-o", str(out), *more])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def answer(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("tuned") / "tuned.toml"
    code, said = tune(checkpoint, out, "--clips-per-second", "1e-3", "--method", "topk")
    assert code == 1
    assert "nothing needs to be merged" in said
    out.with_name("tuned.toml.journal").unlink()
    code, said = tune(checkpoint, out, "--max-loss", "0.9", "--method", "topk")
    assert code == 0, said
    return out, said


def test_it_says_what_the_best_of_each_family_gives(answer: tuple[Path, str]) -> None:
    _, said = answer
    number = r"[-+]?[\d.]+"
    interval = rf"{number} \[{number}, {number}\]"
    for row in ("unmerged", "tuned", "best constant", "best decreasing"):
        assert re.search(rf"^{row} +{interval} +{interval} +{interval} +{interval}$", said, re.M), said
    for name in ("constant", "decreasing"):
        assert re.search(
            rf"^tuned against the best {name}: mAP {interval}, .*; takes {interval} times as long$", said, re.M
        )
    assert re.search(r"^schedule: list:\d+,\d+,\d+$", said, re.M)


def test_the_answer_is_a_schedule_for_other_commands(answer: tuple[Path, str], checkpoint: str) -> None:
    out, said = answer
    reduction = read_reduction(str(out))
    assert reduction is not None
    assert reduction.method == "topk"
    assert f"schedule: {reduction.schedule}" in said
    arguments = ["evaluate", checkpoint, "smoke", "-s", "data.test_clips=40", "--schedule", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)["metrics"]) == [str(out)]


def test_its_numbers_are_those_of_the_held_out_clips(answer: tuple[Path, str], checkpoint: str) -> None:
    values = tomllib.loads(answer[0].read_text())
    recipe = load_recipe("smoke", ["data.val_clips=40"])
    data, model = recipe.data.options.split("val"), load_model(checkpoint).eval()
    places = two_halves(40, 40)[1]
    clips = read_clips("x", data, places, recipe_frontend(model, recipe.model, model.normalisation))
    assert clips.ids_sha256 == values["tuning"]["held_out_ids_sha256"]
    for name in ("unmerged", "tuned"):
        with torch.inference_mode():
            if name == "tuned":
                reduce(model, read_reduction(str(answer[0])))  # type: ignore[arg-type]
            logits = model(clips.features).numpy()
        present = clips.labels.any(axis=0)
        expected = np.mean([average_precision_score(clips.labels[:, j], logits[:, j]) for j in np.flatnonzero(present)])
        assert values["measured"][name]["metric"][0] == pytest.approx(expected, abs=1e-6)
    loss = values["measured"]["unmerged"]["metric"][0] - values["measured"]["tuned"]["metric"][0]
    assert values["measured"]["tuned"]["loss"][0] == pytest.approx(loss)


def test_a_finished_answer_is_said_again_and_never_overwritten(answer: tuple[Path, str], checkpoint: str) -> None:
    out, said = answer
    before = out.read_bytes()
    code, again = tune(checkpoint, out, "--max-loss", "0.9", "--method", "topk")
    assert code == 0
    assert said.splitlines()[-3:] == again.splitlines()[-3:]
    code, other = tune(checkpoint, out, "--max-loss", "0.8", "--method", "topk")
    assert code == 1
    assert "this is the answer to another question: target was" in other
    assert out.read_bytes() == before
    assert not out.with_name("tuned.toml.journal").exists()


def test_other_weights_under_the_same_name_are_another_question(checkpoint: str, tmp_path: Path, monkeypatch) -> None:
    mine, out = tmp_path / "mine.safetensors", tmp_path / "tuned.toml"
    shutil.copy(checkpoint, mine)

    def die(*args: object, **kwargs: object) -> None:
        raise OSError("the power went away")

    with monkeypatch.context() as killed:
        killed.setattr("fastast.tuning.measuring.measurements.measure_table", die)
        assert tune(str(mine), out, "--max-loss", "0.9")[0] == 1
    other = load_model(mine)
    torch.nn.init.zeros_(other.blocks[0].mlp.fc1.weight)
    save_checkpoint(mine, other)
    code, said = tune(str(mine), out, "--max-loss", "0.9")
    assert code == 1
    assert "the measurements in it are for another question: weights_sha256 was" in said


@pytest.mark.parametrize(("option", "key"), [("--activation", "activation"), ("--labels", "labels")])
def test_how_logits_are_read_is_part_of_the_question(
    option: str, key: str, answer: tuple[Path, str], checkpoint: str
) -> None:
    value = "softmax" if key == "activation" else "data"
    code, said = tune(checkpoint, answer[0], "--max-loss", "0.9", "--method", "topk", option, value)
    assert code == 1
    assert f"this is the answer to another question: {key} was '' and is now '{value}'" in said


def test_another_processor_is_another_question(checkpoint: str, tmp_path: Path, monkeypatch) -> None:
    """Times of two processors are no times of one, however alike their numbers of threads."""

    def die(*args: object, **kwargs: object) -> None:
        raise OSError("the power went away")

    monkeypatch.setattr("fastast.tuning.measuring.measurements.measure_table", die)
    monkeypatch.setattr("fastast.system.devices.processor_name", lambda: "Elbrus-8S")
    assert tune(checkpoint, tmp_path / "tuned.toml", "--max-loss", "0.9")[0] == 1
    monkeypatch.setattr("fastast.system.devices.processor_name", lambda: "Loongson-3A6000")
    code, said = tune(checkpoint, tmp_path / "tuned.toml", "--max-loss", "0.9")
    assert code == 1
    assert "the measurements in it are for another question: device was" in said
    assert "Elbrus-8S" in said


@pytest.mark.parametrize(("name", "key"), [("torch", "torch"), ("fastast", "fastast"), ("", "probed")])
def test_times_of_another_version_are_not_gone_on_with(
    name: str, key: str, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, journal = tmp_path / "tuned.toml", tmp_path / "tuned.toml.journal"

    def die(*args: object, **kwargs: object) -> None:
        raise OSError("the power went away")

    monkeypatch.setattr("fastast.tuning.measuring.measurements.measure_table", die)
    assert tune(checkpoint, out, "--max-loss", "0.9")[0] == 1
    if name:
        was = str(importlib.import_module(name).__version__)
        monkeypatch.setattr(f"{name}.__version__", torch.torch_version.TorchVersion("97.1.0"))
        wanted = rf"{key} was '{re.escape(was)}' and is now '97\.1\.0'"
    else:  # of before there were such keys
        first, *more = journal.read_text().splitlines(keepends=True)
        question = {k: v for k, v in json.loads(first)["question"].items() if k not in ("torch", "fastast", "probed")}
        journal.write_text(json.dumps({"question": question}) + "\n" + "".join(more))
        wanted = r"fastast was not recorded by an older FastAST and is now '.*Remove the file, or give another --out"
    code, said = tune(checkpoint, out, "--max-loss", "0.9")
    assert code == 1
    assert re.search(f"for another question: {wanted}", " ".join(said.split())), said


def test_an_interrupted_run_goes_on(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "tuned.toml"
    calls: list[object] = []

    def die(*args: object, **kwargs: object) -> None:
        raise OSError("the power went away")

    with monkeypatch.context() as killed:
        killed.setattr("fastast.tuning.measuring.measurements.time_reductions", die)
        code, said = tune(checkpoint, out, "--max-loss", "0.9")
        assert code == 1
        assert "the power went away" in said
    monkeypatch.setattr(
        "fastast.tuning.measuring.measurements.measure_table", lambda *args, **kwargs: calls.append(args)
    )
    code, said = tune(checkpoint, out, "--max-loss", "0.9")
    assert code == 0, said
    assert "resuming from" in said
    assert not calls  # the table of before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--speedup", "2", "--min-positives", "15"], "have fewer than 15 positive clips"),
        (["--speedup", "2", "--split", "nowhere"], "unknown split"),
        (["--speedup", "2", "--held-out", "val"], "whose clips are used for calibration"),
        (["--speedup", "2", "--max-loss", "0.1"], "give one target"),
        (["--speedup", "2", "--method", "local", "--option", "time=90"], "time"),
        (["--speedup", "2", "--option", "axis=time"], "unknown option 'axis'"),
        (["--speedup", "900"], "no schedule of tome is forecast to take"),
    ],
)
def test_what_cannot_be_is_refused(checkpoint: str, tmp_path: Path, more: list[str], words: str) -> None:
    code, said = tune(checkpoint, tmp_path / "tuned.toml", *more)
    assert code == 1
    assert words in said
    assert not (tmp_path / "tuned.toml").exists()
