"""Check that clips and networks suit a recipe, before a folder is made."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fastast.data.augment import Augmentation
from fastast.data.training_set import DataError, TrainingSet, collate, read_clip, read_or_replace
from fastast.frontend import Frontend
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.recipe import Recipe
from fastast.training.recipe.reductions import reducible


def check_task(recipe: Recipe, data: TrainingSet) -> None:
    """Raise RecipeError for cross-entropy on clips that can have several labels or none."""
    if recipe.loss == "ce" and data.task == "multi_label":
        raise RecipeError(
            f"loss is 'ce', for clips with one label; those of {recipe.data.name} can have several or none: set "
            "loss = 'bce'"
        )


def check_clips(recipe: Recipe, splits: Mapping[str, TrainingSet], frontend: Frontend) -> None:
    """Augment a clip of `train`, and look in every other split for a clip that can be scored.

    Raises RecipeError if the augmentation cannot be applied, DataError if a split has no such clip.
    """
    data = splits["train"]
    batch = collate([read_or_replace(data, 0, 0)], len(data.classes))
    try:
        (recipe.augmentation or Augmentation()).apply(batch, torch.Generator(), frontend)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    for name, split in splits.items():
        faults: list[str] = []
        if name != "train" and not any(_can_be_scored(split, index, faults) for index in range(len(split))):
            said = f"; the first says: {faults[0]}" if faults else ""
            raise DataError(
                f"data: the split {name} of {recipe.data.name} has no clip that can be read and has a label, so "
                f"nothing can be scored{said}"
            )


def _can_be_scored(data: TrainingSet, index: int, faults: list[str]) -> bool:
    item = read_clip(data, index, 0)
    faults += [fault for _, fault in item.skipped]
    return item.labels is not None and bool((item.labels > 0.5).any())


def check_network(name: str, model: nn.Module, frontend: Frontend, clips: int) -> None:
    """Pass the shapes of `clips` clips through a timm network without computing anything.

    An AST is not tried, because its geometry suffices. Raises RecipeError if the network cannot be trained on
    filterbanks of this shape, or on so few at once.
    """
    if hasattr(reducible(model), "geometry"):
        return
    state = {key: value.to("meta") for key, value in (*model.named_parameters(), *model.named_buffers())}
    shape = (clips, frontend.num_frames, frontend.num_mel_bins)
    try:
        torch.func.functional_call(model, state, (torch.empty(shape, device="meta", dtype=_float_type(model)),))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return  # it needs more than shapes: the first step will tell
        raise RecipeError(
            f"model.name: {name} cannot be trained on {clips} clips at once of {frontend.num_frames} frames and "
            f"{frontend.num_mel_bins} mel bins: {error}; take a CNN, such as resnet18, longer clips or a larger batch"
        ) from error


def _float_type(model: nn.Module) -> torch.dtype:
    return next(value.dtype for value in model.parameters() if value.is_floating_point())
