"""Training with stored answers gives the weights of training with the teacher; answers that do not fit are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fastast.cli import app
from fastast.data.augment import step_seed
from fastast.distill import DistillationError
from fastast.frontend import Normalisation
from fastast.teachers import create_teacher, load_teacher, save_teacher
from fastast.training.loop import train
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe
from fastast.training.record_recipe import record_recipe

RECIPE = """
batch_size = 8
epochs = 2
accumulation = 2
loss = "ce"
[model]
name = "ast_tiny"
options = {{embed_dim = 16, depth = 2, num_heads = 2, num_frames = 32, fstride = 16, tstride = 16}}
[reduction]
r = [0, 3]
[data]
name = "esc50"
root = "{root}"
[normalisation]
mean = -6.0
std = 5.0
[augmentation]
mixup_rate = 0.5
freq_mask = 24
[optimiser]
name = "adamw"
lr = 3e-3
[distillation]
teacher = "{teacher}"
activation = "softmax"
"""
CATEGORIES = ("dog", "rain", "siren")


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, with a data set in ESC-50's layout of a few clips of noise and an untrained teacher."""
    folder = tmp_path_factory.mktemp("record")
    random = np.random.default_rng(0)
    (folder / "esc50/audio").mkdir(parents=True)
    (folder / "esc50/meta").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(CATEGORIES):
            name = f"{fold}-{target}-A.wav"
            soundfile.write(folder / "esc50/audio" / name, 0.1 * random.standard_normal(4_000), 16_000)
            lines.append(f"{name},{fold},{target},{category},False,0,A")
    (folder / "esc50/meta/esc50.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    teacher = create_teacher("efficientnet_b0", 3, normalisation=Normalisation(mean=-6.0, std=5.0))
    teacher(torch.randn(4, 32, 128))  # updates the batch-norm statistics
    with torch.no_grad():
        teacher.pooling.linear.weight.mul_(1e5)  # type: ignore[union-attr, operator]
    saved = save_teacher(folder / "teacher.safetensors", teacher, labels=sorted(CATEGORIES))
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(root=(folder / "esc50").as_posix(), teacher=saved.as_posix()))
    return path


@pytest.mark.parametrize("consistent", [True, False])
def test_training_with_stored_answers_gives_the_same_weights(
    recipe_file: Path, tmp_path: Path, consistent: bool
) -> None:
    settings = [f"distillation.consistent={str(consistent).lower()}"]
    train(load_recipe(str(recipe_file), settings), tmp_path / "online", device="cpu", quiet=True)
    path = record_recipe(load_recipe(str(recipe_file), settings), tmp_path / "targets.safetensors", k=3)
    settings += [f"distillation.targets={path.as_posix()}"]
    train(load_recipe(str(recipe_file), settings), tmp_path / "offline", device="cpu", quiet=True)
    online, offline = (load_file(tmp_path / name / "model.safetensors") for name in ("online", "offline"))
    for key, weight in online.items():
        if consistent:
            assert torch.equal(weight, offline[key]), key
        else:  # the teacher saw the clips in other batches, which round differently
            torch.testing.assert_close(weight, offline[key], atol=1e-3, rtol=0)


def test_the_teacher_makes_a_difference(recipe_file: Path, tmp_path: Path) -> None:
    weights = []
    for name, settings in (("with", []), ("without", ["distillation="])):
        train(load_recipe(str(recipe_file), settings), tmp_path / name, device="cpu", quiet=True)
        weights.append(load_file(tmp_path / name / "model.safetensors")["head.linear.weight"])
    assert float((weights[0] - weights[1]).abs().max()) > 1e-3


def test_every_process_finds_its_own_batches(recipe_file: Path, tmp_path: Path) -> None:
    path = record_recipe(load_recipe(str(recipe_file)), tmp_path / "targets.safetensors", k=1, processes=2)
    stored = load_file(path)
    # 9 clips in 3 of ESC-50's folds make one step of 8 per epoch: 2 epochs, 2 parts, 2 processes, 8 batches of 2 clips.
    assert stored["seeds"].tolist() == [step_seed(0, number, rank) for rank in range(2) for number in range(4)]
    assert stored["starts"].tolist() == list(range(0, 17, 2))
    batches = stored["indices"].view(2, 2, 2, 2)  # rank, epoch, part, clip
    for epoch in range(2):
        assert len(batches[:, epoch].unique()) == 8


def test_answers_for_another_recipe_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    path = record_recipe(load_recipe(str(recipe_file)), tmp_path / "targets.safetensors", k=2)
    targets = f"distillation.targets={path.as_posix()}"
    for change, said in (
        ("seed=1", "seed is 0, this run's is 1"),
        ("augmentation.freq_mask=12", r"augmentation\.freq_mask is"),
        ("batch_size=4", "batch_size is 4, this run's is 2"),
        ("accumulation=1", "batch_size is 4, this run's is 8"),
        ("precision=bfloat16", "precision is 'float32', this run's is 'bfloat16'"),
    ):
        with pytest.raises(DistillationError, match=said):
            train(load_recipe(str(recipe_file), [targets, change]), tmp_path / "run", device="cpu", quiet=True)
        assert not (tmp_path / "run/model.safetensors").exists()


def test_answers_to_other_clips_of_the_same_names_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    path = record_recipe(load_recipe(str(recipe_file)), tmp_path / "targets.safetensors", k=3)
    targets = f"distillation.targets={path.as_posix()}"
    root = Path(load_recipe(str(recipe_file)).data.options.root)  # type: ignore[attr-defined]
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # with other modification times
    settings = [targets, f"data.root={copy.as_posix()}"]
    train(load_recipe(str(recipe_file), settings), tmp_path / "copied", device="cpu", quiet=True)
    for clip in (copy / "audio").iterdir():
        samples, rate = soundfile.read(clip)
        soundfile.write(clip, samples[::-1], rate)  # a file of the same size
    with pytest.raises(DistillationError, match=r"clips\.sounds is .* under the same names"):
        train(load_recipe(str(recipe_file), settings), tmp_path / "other", device="cpu", quiet=True)


def test_the_command_records_what_the_function_does(recipe_file: Path, tmp_path: Path) -> None:
    expected = load_file(record_recipe(load_recipe(str(recipe_file)), tmp_path / "expected.safetensors", k=2))
    shown = CliRunner().invoke(
        app, ["record", str(recipe_file), "--out", str(tmp_path / "said.safetensors"), "--k", "2"]
    )
    assert shown.exit_code == 0, shown.output
    said = load_file(tmp_path / "said.safetensors")
    assert all(torch.equal(said[name], expected[name]) for name in expected)
    shown = CliRunner().invoke(
        app, ["record", str(recipe_file), "--out", str(tmp_path / "more.safetensors"), "--k", "9"]
    )
    assert shown.exit_code == 1
    assert "k is 9; the teacher has 3 classes" in shown.output
    assert not (tmp_path / "more.safetensors").exists()


def test_what_cannot_be_recorded_is_named(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "targets.safetensors"
    with pytest.raises(DistillationError, match=r"no \[distillation\] part"):
        record_recipe(load_recipe(str(recipe_file), ["distillation="]), path, k=2)
    with pytest.raises(DistillationError, match="k is 4; the teacher has 3 classes"):
        record_recipe(load_recipe(str(recipe_file)), path, k=4)
    with pytest.raises(DistillationError, match="shared by 3 processes in 2 parts"):
        record_recipe(load_recipe(str(recipe_file)), path, k=2, processes=3)
    assert not path.exists()


def test_answers_replace_nothing_that_the_recipe_reads(recipe_file: Path) -> None:
    recipe = load_recipe(str(recipe_file))
    assert recipe.distillation is not None
    read = (recipe_file, Path(recipe.distillation.teacher))
    before = [path.read_bytes() for path in read]
    for path in read:
        shown = CliRunner().invoke(app, ["record", str(recipe_file), "--out", str(path), "--k", "2"])
        assert shown.exit_code == 1
        assert f"{path}: this is an input, and the output would overwrite it" in shown.output
    assert [path.read_bytes() for path in read] == before


def test_a_teacher_of_another_loss_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    """It is refused both in training and when its answers are recorded."""
    teacher = load_teacher(load_recipe(str(recipe_file)).distillation.teacher)  # type: ignore[union-attr]
    teacher.loss = "bce"
    told = save_teacher(tmp_path / "bce.safetensors", teacher)
    recipe = load_recipe(str(recipe_file), [f"distillation.teacher={told.as_posix()}"])
    message = r"trained with loss 'bce', .* distillation\.activation is 'softmax'. .* loss = 'bce'"
    with pytest.raises(DistillationError, match=message):
        train(recipe, tmp_path / "run", device="cpu", quiet=True)
    with pytest.raises(DistillationError, match=message):
        record_recipe(recipe, tmp_path / "targets.safetensors", k=3)
    assert [path.name for path in tmp_path.iterdir()] == ["bce.safetensors"]


def test_a_share_of_weights_of_another_loss_is_not_kept(recipe_file: Path, tmp_path: Path) -> None:
    settings = ["distillation=", "epochs=0", "steps=1"]
    train(load_recipe(str(recipe_file), settings), tmp_path / "ce", device="cpu", quiet=True)
    settings += [f"model={{checkpoint='{(tmp_path / 'ce/model.safetensors').as_posix()}'}}", "start_share=0.5"]
    with pytest.raises(
        RecipeError, match=r"start_share keeps a share of .*ce.model\.safetensors, .* loss 'ce'; loss is"
    ):
        train(load_recipe(str(recipe_file), [*settings, "loss=bce"]), tmp_path / "bce", device="cpu", quiet=True)
    train(load_recipe(str(recipe_file), settings), tmp_path / "on", device="cpu", quiet=True)
