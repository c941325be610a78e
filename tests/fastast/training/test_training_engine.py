"""Training on the kernels: the weights of plain PyTorch, in one or several processes, or a refusal with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fastast.data.sampling import Sampler, load_batches
from fastast.engine.differentiable import DifferentiableForward
from fastast.training.distributed import World
from fastast.training.loop import train
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.file import load_recipe, recipe_names
from fastast.training.trainer import Trainer
from tests.fastast.kernels.conftest import device as device
from tests.fastast.kernels.interpreter import skip_without_interpreter

SETTINGS = ("model.drop_path_rate=0.2", "reduction.r=[2, 4]", "optimiser.clip_norm=1.0", "steps=3", "ema_decay=0.9")


def run(recipe: Path, folder: Path, device: torch.device, *settings: str) -> dict[str, Tensor]:
    train(load_recipe(str(recipe), settings), folder, device=device.type, quiet=True)
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_the_kernels_make_the_weights_that_plain_torch_makes(
    recipe_file: Path, tmp_path: Path, device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # else a GPU's patch convolution would use it
    settings = (*SETTINGS, "precision=float64" if device.type == "cpu" else "precision=float32")
    # Adam divides by the gradient's size, so rounding errors of a nearly zero gradient make steps of full size.
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if device.type == "cpu" else {"rtol": 1e-3, "atol": 1e-3}
    plain = run(recipe_file, tmp_path / "plain", device, *settings, "optimiser.name=adam")
    triton = run(recipe_file, tmp_path / "triton", device, *settings, "optimiser.name=adam", "engine=triton")
    assert plain.keys() == triton.keys()
    for key, value in plain.items():
        torch.testing.assert_close(triton[key], value, **tolerance, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns(recipe_file: Path, device, precision: str) -> None:
    """Train on one batch repeatedly; float16's gradient scaler sees the kernels' gradients."""
    settings = [*SETTINGS, f"precision={precision}", "engine=triton", "optimiser.lr=1e-2", "batch_size=2"]
    recipe = load_recipe(str(recipe_file), settings)
    data = recipe.data.options.split("train")
    sampler = Sampler(num_clips=len(data), batch_size=recipe.batch_size, seed=0)
    trainer = Trainer(recipe, data.classes, sampler, World(device=device))
    assert isinstance(trainer.wrapped, DifferentiableForward)
    (batch,) = load_batches(data, sampler.parts(0, 1, rank=0, world_size=1, accumulation=1), workers=0, replace=True)
    losses = [float(trainer.step(step, [batch])["loss"]) for step in range(6)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_two_processes_on_the_kernels_are_one_in_plain_torch(recipe_file: Path, tmp_path: Path) -> None:
    skip_without_interpreter()
    settings = ("precision=float64", "reduction.r=[3]", "accumulation=2", "steps=2")
    alone = run(recipe_file, tmp_path / "alone", torch.device("cpu"), *settings)
    options = [word for setting in (*settings, "engine=triton") for word in ("-s", setting)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fastast.cli",
        "train", str(recipe_file), "--out", str(tmp_path / "two"), "--device", "cpu", "-q", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    both = load_file(tmp_path / "two" / "model.safetensors")
    for key, value in alone.items():
        torch.testing.assert_close(both[key], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), r"engine is 'triton', but Triton has no code for a cpu device .*; set engine = \"plain\""),
        (("precision=float64",), r"engine is 'triton', but the kernels do not support float64"),
        (("reduction={r=[0, 2], combine='norm'}",), r"the kernel of combine='norm' has no backward pass"),
        (("model.name=aisfx_cnn9", "model.options={}"), r"not for Aisfx"),
    ],
)
def test_what_the_kernels_cannot_train_stops_before_anything_runs(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    recipe = load_recipe(str(recipe_file), ["engine=triton", *settings])
    with pytest.raises(RecipeError, match=message):
        Trainer(recipe, ("a", "b"), Sampler(num_clips=8, batch_size=8, seed=0), World())


def test_the_engine_is_part_of_a_recipes_identity_and_the_default_is_not(recipe_file: Path) -> None:
    base = load_recipe(str(recipe_file))
    assert load_recipe(str(recipe_file), ["engine=plain"]).identity == base.identity
    assert load_recipe(str(recipe_file), ["engine=triton"]).identity != base.identity
    for name in recipe_names():
        assert "engine" not in load_recipe(name).question()  # so that runs from before the key existed can resume
    with pytest.raises(RecipeError, match=r"engine: unknown value 'tritn'. Did you mean 'triton'"):
        load_recipe(str(recipe_file), ["engine=tritn"])
