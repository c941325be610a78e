"""Store a teacher's answers for the whole training that a recipe describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch

from fastast.checkpoints.targets import check_model_target
from fastast.data.augment import Augmentation, step_seed
from fastast.data.same_clips import identify
from fastast.data.sampling import Sampler, all_labels, balanced_weights, in_order, load_batches
from fastast.data.training_set import Batch
from fastast.distill.distillation import DistillationError
from fastast.distill.distiller import create_distiller
from fastast.system.devices import find_device
from fastast.training.precision import autocast
from fastast.training.recipe.fits import check_task
from fastast.training.recipe.recipe import Recipe
from fastast.training.recording import recipe_question, record_targets
from fastast.training.run_folder.folder import named_files
from fastast.training.weights.build import build_recipe_model, recipe_frontend


def record_recipe(recipe: Recipe, path: str | Path, *, k: int, device: str = "cpu", processes: int = 1) -> Path:
    """Run a recipe's teacher over all batches of its training, store each clip's k best logits, and return the path.

    A single process does this, for a training by `processes` processes on this kind of device. The file is then the
    recipe's `distillation.targets`. Without consistent teaching, the teacher sees every clip of the set once.

    Raises DistillationError for a recipe without a teacher, a k that is too large, a batch that cannot be divided, or
    clips that are mixed anew in every epoch without consistent teaching; other ValueErrors if parts of the recipe or
    the teacher do not fit, or `path` is a file that the recipe reads.
    """
    if recipe.distillation is None:
        raise DistillationError(
            "recipe: it has no [distillation] part, and thus no teacher whose answers could be stored"
        )
    read = [file for key, file in named_files(recipe).items() if key != "distillation.targets"]
    check_model_target(Path(path), read)
    if recipe.batch_size % (processes * recipe.accumulation):
        raise DistillationError(
            f"recipe: batch_size {recipe.batch_size} cannot be shared by {processes} processes in "
            f"{recipe.accumulation} parts"
        )
    consistent = recipe.distillation.consistent
    if not consistent and getattr(recipe.data.options, "fresh", False):
        raise DistillationError(
            "recipe: data.fresh mixes other clips in every epoch, so an answer cannot be found by its clip; set "
            "data.fresh = false, or distillation.consistent = true"
        )
    place = find_device(device)
    data = recipe.data.options.split("train")
    check_task(recipe, data)
    weights = balanced_weights(all_labels(data)) if recipe.data.sampler == "balanced" else None
    sampler = Sampler(num_clips=len(data), batch_size=recipe.batch_size, seed=recipe.seed, weights=weights)
    normalisation = recipe.normalisation.applied
    frontend = recipe_frontend(
        build_recipe_model(recipe.model, data.classes, normalisation), recipe.model, normalisation
    )
    distiller = create_distiller(
        dataclasses.replace(recipe.distillation, targets=""),
        num_classes=len(data.classes),
        normalisation=normalisation,
        shape=(frontend.num_frames, frontend.num_mel_bins),
        labels=data.classes,
        device=place,
    )
    assert distiller.teacher is not None

    def batches() -> Iterator[tuple[int, Batch]]:
        steps = recipe.steps or recipe.epochs * sampler.steps_per_epoch
        for rank in range(processes):
            parts = sampler.parts(0, steps, rank=rank, world_size=processes, accumulation=recipe.accumulation)
            if not consistent:  # batches do not matter, only that every clip comes once
                parts = in_order(len(data), recipe.batch_size, rank=rank, world_size=processes)
            for number, batch in enumerate(load_batches(data, parts, workers=recipe.run.workers, replace=True)):
                yield step_seed(recipe.seed, number, rank), batch.to(place)

    augmentation = recipe.augmentation or Augmentation()
    with autocast(place, recipe.precision):
        return record_targets(
            path,
            distiller.teacher,
            batches(),
            augmentation=augmentation,
            frontend=frontend,
            generator=torch.Generator(place),
            question=recipe_question(recipe, frontend, processes=processes, device=place, clips=identify(data)),
            num_classes=len(data.classes),
            k=k,
            activation=recipe.distillation.activation,
            consistent=consistent,
        )
