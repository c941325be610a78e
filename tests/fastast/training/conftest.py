"""A data set of a few short tones in ESC-50's layout, and a recipe that trains on it in a second."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fastast.training.loop import train
from fastast.training.recipe.file import load_recipe
from fastast.training.run_folder.checkpoint import State, save_state

SAMPLES = 4_000
CATEGORIES = ("dog", "rain", "clock_tick", "siren")
RECIPE = """
batch_size = 8
steps = 12
precision = "float32"
[model]
name = "ast_tiny"
options = {embed_dim = 16, depth = 2, num_heads = 2, num_frames = 32, fstride = 16, tstride = 16}
[data]
name = "esc50"
[normalisation]
mean = -6.0
std = 5.0
[optimiser]
name = "adamw"
lr = 3e-3
[run]
log_every = 4
checkpoint_every = 100
"""


def write_esc50(root: Path, *, clips_per_fold: int = 2) -> Path:
    """Write five folds of four categories, each a different tone in noise, and return the folder."""
    random = np.random.default_rng(0)
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold in range(1, 6):
            for target, category in enumerate(CATEGORIES):
                for take in range(clips_per_fold):
                    name = f"{fold}-{target}-{take}.wav"
                    tone = 0.3 * np.sin(2 * np.pi * 300 * 2**target * np.arange(SAMPLES) / 16_000 + random.random())
                    soundfile.write(root / "audio" / name, tone + 0.02 * random.standard_normal(SAMPLES), 16_000)
                    table.writerow([name, fold, target, category, "False", "0", "A"])
    return root


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread: tensors are too small for two, which would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def esc50_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_esc50(tmp_path_factory.mktemp("data") / "esc50")


@pytest.fixture
def recipe_file(tmp_path: Path, esc50_root: Path) -> Path:
    path = tmp_path / "tones.toml"
    path.write_text(RECIPE.replace('name = "esc50"', f'name = "esc50"\nroot = "{esc50_root.as_posix()}"'))
    return path


def stopped(recipe: Path, folder: Path, *settings: str, at: int, patch: pytest.MonkeyPatch) -> None:
    """Train until the state after `at` steps is written, then stop as if interrupted."""

    def stop(path: Path, state: State) -> None:
        save_state(path, state)
        if state.step == at:
            raise KeyboardInterrupt

    with patch.context() as context:
        context.setattr("fastast.training.run.save_state", stop)
        with pytest.raises(KeyboardInterrupt):
            train(load_recipe(str(recipe), settings), folder, device="cpu", quiet=True)
