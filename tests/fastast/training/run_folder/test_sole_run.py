"""Two processes that train in the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastast.training.loop import train
from fastast.training.recipe.file import load_recipe
from fastast.training.run_folder.checkpoint import ResumeError, State, save_state


def test_a_second_process_is_kept_off_a_run_until_it_ends(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(str(recipe_file), ["run.checkpoint_every=4"])
    seen: list[str] = []

    def meanwhile(path: Path, state: State) -> None:
        with pytest.raises(ResumeError) as refused:
            train(recipe, tmp_path / "run", resume=True, device="cpu", quiet=True)
        seen.append(str(refused.value))
        save_state(path, state)
        if state.step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("fastast.training.run.save_state", meanwhile)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert seen == [f"{tmp_path / 'run'}: another process is training in it; wait for it, or end it"] * 2
    (tmp_path / "run" / ".lock").touch()  # a killed process leaves the file but no lock
    train(recipe, tmp_path / "run", resume=True, device="cpu", quiet=True)
    assert not (tmp_path / "run" / ".lock").exists()
    train(recipe, tmp_path / "run", resume=True, device="cpu", quiet=True)  # finished, so it only reads the result
