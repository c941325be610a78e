"""Train from a recipe to a file of weights, in a new folder or by resuming the run in an old one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from fastast.data.datasets import open_split
from fastast.data.same_clips import identify
from fastast.data.sampling import Sampler, all_labels, balanced_weights
from fastast.data.splits import check_classes, warn_of_shared_clips
from fastast.data.training_set import TrainingSet
from fastast.training.distributed import World, open_world
from fastast.training.recipe.fits import check_clips, check_network, check_task
from fastast.training.recipe.recipe import Recipe
from fastast.training.run import Run
from fastast.training.run_folder.checkpoint import ResumeError, State
from fastast.training.run_folder.folder import RESULT, open_folder, read_run_file, sole_run
from fastast.training.run_folder.logging import RunLog
from fastast.training.trainer import Trainer


def train(
    recipe: Recipe, folder: Path, *, resume: bool = False, device: str = "auto", quiet: bool = False
) -> dict[str, Any]:
    """Follow a recipe and return the content of `result.json` in `folder`.

    Under torchrun, every process calls this. With `resume`, a stopped run ends at the weights that it would have
    reached without the stop (bit for bit on a CPU with the same number of threads and processes).

    Raises ValueError (RecipeError, DataError, ResumeError, NotFiniteError, ...); what was written before it stays.
    """
    with open_world(device) as world, ExitStack() as held:
        part = recipe.data
        data, validation, test = (open_split(part.name, part.options, name) for name in ("train", "val", "test"))
        splits = {"train": data, "val": validation, "test": test}
        check_classes(splits)
        if world.leads:
            warn_of_shared_clips(splits)
        check_task(recipe, data)
        weights = balanced_weights(all_labels(data)) if recipe.data.sampler == "balanced" else None
        sampler = Sampler(num_clips=len(data), batch_size=recipe.batch_size, seed=recipe.seed, weights=weights)
        stored = recipe.distillation is not None and recipe.distillation.targets
        trainer = Trainer(recipe, data.classes, sampler, world, clips=identify(data) if stored else None)
        check_clips(recipe, splits, trainer.frontend)
        check_network(recipe.model.name, trainer.model, trainer.frontend, trainer.part_size)
        state, finished = _open(folder, recipe, world, resume, splits, held)
        if finished is not None:
            return finished
        first = 0
        if state is not None:
            _load(trainer, state, folder)
            first = state.step
        log = RunLog(folder, world, total_steps=trainer.total_steps, step=first, quiet=quiet)
        try:
            run = Run(trainer, data, validation, folder, log, dict(state.notes) if state else {})
            run.announce(first, resumed=state is not None)
            run.steps(first, sampler)
            return run.finish(test)
        finally:
            log.close()


def _open(
    folder: Path, recipe: Recipe, world: World, resume: bool, splits: Mapping[str, TrainingSet], held: ExitStack
) -> tuple[State | None, dict[str, Any] | None]:
    """Open the folder in the first process and keep other runs out; return its state and, if any, its result.

    Every process gets both, or the error.
    """
    error: ValueError | None = None
    state = finished = None
    if world.leads:
        try:
            state = open_folder(folder, recipe, resume=resume, splits=splits)
            if (path := folder / RESULT).is_file():
                finished = read_run_file(path, "test", advice="move it away to resume the run from its last state")
            else:
                held.enter_context(sole_run(folder))
        except ValueError as found:
            error = found
    if error := world.from_leader(error):
        raise error
    return world.from_leader((state, finished))


def _load(trainer: Trainer, state: State, folder: Path) -> None:
    """Load a state into a trainer. Raises ResumeError if it is intact but not one of this training."""
    try:
        trainer.load(state)
    except torch.OutOfMemoryError:
        raise  # the state is not to blame
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        raise ResumeError(
            f"{folder}: the state after step {state.step} is not one of this training ({error}); start anew in another "
            "folder with --out"
        ) from error
