"""Averages of weights, held against NumPy's of the numbers in the files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import LABELS, SMALL, original_names, small_model
from safetensors.numpy import load_file
from typer.testing import CliRunner

import fastast
from fastast.checkpoints import CheckpointError, average_checkpoints, load_checkpoint, save_checkpoint
from fastast.cli import app
from fastast.frontend import Normalisation

SCALE = Normalisation(mean=-4.0, std=3.0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        save_checkpoint(
            tmp_path / f"{seed}.safetensors", small_model(seed=seed), labels=LABELS, normalisation=SCALE, loss="ce"
        )
        for seed in range(3)
    ]


@pytest.mark.parametrize("shares", [None, [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
def test_every_number_is_the_weighted_mean(files: list[Path], tmp_path: Path, shares: list[float] | None) -> None:
    found = load_file(average_checkpoints(tmp_path / "mean.safetensors", files, shares))
    parts = [load_file(path) for path in files]
    assert set(found) == set(parts[0])
    for key, values in found.items():
        expected = np.average(np.stack([part[key].astype(np.float64) for part in parts]), axis=0, weights=shares)
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)


def test_the_file_says_what_it_is_made_of(files: list[Path], tmp_path: Path) -> None:
    made = load_checkpoint(average_checkpoints(tmp_path / "mean.safetensors", files[:2], [0.25, 0.75]))
    assert (made.geometry, made.labels, made.normalisation, made.loss) == (SMALL, LABELS, SCALE, "ce")
    parts = (made.training or {})["average_of"]
    assert [part["share"] for part in parts] == [0.25, 0.75]
    assert [part["sha256"] for part in parts] == [load_checkpoint(path).sha256 for path in files[:2]]
    again = tmp_path / "again.safetensors"
    average_checkpoints(again, files[:2], [0.25, 0.75])
    assert again.read_bytes() == (tmp_path / "mean.safetensors").read_bytes()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("told", "missing"), [({"normalisation": SCALE}, "classes"), ({"labels": LABELS}, "normalisation")]
)
def test_a_file_that_leaves_unsaid_what_others_say_is_refused(
    files: list[Path], tmp_path: Path, place: int, told: dict[str, object], missing: str
) -> None:
    files[place] = save_checkpoint(tmp_path / "silent.safetensors", small_model(seed=7), **told)  # type: ignore[arg-type]
    with pytest.raises(
        CheckpointError, match=rf"silent.safetensors: it does not say its {missing}, but .*save_checkpoint"
    ):
        average_checkpoints(tmp_path / "mean.safetensors", files)
    assert not (tmp_path / "mean.safetensors").exists()


def test_files_of_which_none_says_its_classes_are_averaged(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.pth" for seed in (7, 8)]
    for seed, path in zip((7, 8), paths, strict=True):
        torch.save(original_names(small_model(seed=seed).state_dict()), path)
    assert load_checkpoint(average_checkpoints(tmp_path / "mean.safetensors", paths)).labels is None


def test_losses_are_compared_among_the_files_that_say_them(files: list[Path], tmp_path: Path) -> None:
    told = {"labels": LABELS, "normalisation": SCALE}
    silent = save_checkpoint(tmp_path / "silent.safetensors", small_model(seed=7), **told)  # type: ignore[arg-type]
    other = save_checkpoint(tmp_path / "other.safetensors", small_model(seed=8), loss="bce", **told)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"other.safetensors: its loss differs .*: 'bce', there 'ce'"):
        average_checkpoints(tmp_path / "mean.safetensors", [silent, files[0], other])
    assert load_checkpoint(average_checkpoints(tmp_path / "mean.safetensors", [silent, files[0]])).loss == "ce"


def test_half_precision_rounds_the_mean_and_not_its_parts(tmp_path: Path) -> None:
    names = ("ast_tiny_soundscapes", "ast_tiny_soundscapes_merged")
    arguments = ["average", *names, "--share", "0.25", "--share", "0.75", "--dtype", "float16", "--out"]
    out = tmp_path / "mean.safetensors"
    result = CliRunner().invoke(app, [*arguments, str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(out)
    found = load_file(out)["head.linear.weight"]
    mine, other = (load_file(Path(fastast.__file__).parent / f"assets/{name}.safetensors") for name in names)
    exact = 0.25 * mine["head.linear.weight"].astype(np.float64) + 0.75 * other["head.linear.weight"].astype(np.float64)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, exact.astype(np.float16))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5], "1 shares for 2 checkpoints"),
        ([0.5, 0.4], "add up to 0.9; they must add up to 1"),
        ([1.5, -0.5], r"0\.safetensors: its share is 1\.5; shares must be from 0 to 1"),
        ([float("nan"), 1.0], r"its share is nan"),
    ],
)
def test_shares_that_are_none(files: list[Path], tmp_path: Path, shares: list[float], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        average_checkpoints(tmp_path / "mean.safetensors", files[:2], shares)
    assert not (tmp_path / "mean.safetensors").exists()


def test_one_model_is_no_average(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="needs at least two checkpoints, not 1"):
        average_checkpoints(tmp_path / "mean.safetensors", files[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometry": dataclasses.replace(SMALL, depth=3)}, "other.safetensors: its shape .* depth is 3, there 2"),
        ({"labels": ("bell", "drum", "horn")}, r"its classes .* class 2 is \('horn',\), there \('größe',\)"),
        ({"normalisation": Normalisation(mean=-4.0, std=2.0)}, r"its normalisation .* std is 2\.0, there 3\.0"),
        ({"loss": "bce"}, "its loss differs .*: 'bce', there 'ce'"),
    ],
)
def test_models_that_do_not_go_together(
    files: list[Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    shape = change.get("geometry", SMALL)
    notes = {"labels": LABELS, "normalisation": SCALE} | {k: v for k, v in change.items() if k != "geometry"}
    other = save_checkpoint(tmp_path / "other.safetensors", small_model(shape), **notes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=message):
        average_checkpoints(tmp_path / "mean.safetensors", [files[0], other])
    assert not (tmp_path / "mean.safetensors").exists()
