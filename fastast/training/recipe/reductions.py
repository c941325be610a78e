"""The reductions of a recipe, in training and in evaluation, checked against the model before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from fastast.reduction import TokenReduction
from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.recipe import Recipe


def reducible(model: nn.Module) -> Any:
    """Return the model in which tokens are merged: the model itself, or the one inside a teacher."""
    return getattr(model, "model", model)


def training_reductions(recipe: Recipe, model: nn.Module) -> tuple[TokenReduction, ...]:
    """Return the reductions that a step can draw; none for a recipe that does not merge.

    Raises RecipeError if the model has no tokens or drops patches (patchout), ReductionError if a block has too few
    tokens.
    """
    if recipe.reduction is None:
        return ()
    _refuse_without_tokens(model, recipe, "reduction", "take the part out")
    if any(getattr(reducible(model), "patchout", ())):
        raise RecipeError(
            "reduction: model.options has patchout too; train with patchout or with merging, not with both"
        )
    for reduction in recipe.reduction.reductions():
        reduction.removals(reducible(model).geometry)
    return recipe.reduction.reductions()


def evaluation_reductions(recipe: Recipe) -> Sequence[tuple[str, TokenReduction | None]]:
    """Return the named reductions to evaluate, each once: repeating an `r` only makes steps draw it more often."""
    texts = tuple(dict.fromkeys(recipe.run.evaluate or (recipe.reduction.texts() if recipe.reduction else ())))
    if not texts:
        return (("", None),)
    if recipe.reduction:
        return tuple((text, recipe.reduction.reduction(text)) for text in texts)
    excess = recipe.run.evaluate_excess
    return tuple((text, TokenReduction.from_dict({"schedule": text, "excess": excess})) for text in texts)


def chosen_by(recipe: Recipe) -> str:
    """Return under which reduction the best weights are chosen, as text: scores under two cannot be compared."""
    text, reduction = evaluation_reductions(recipe)[0]
    return "unmerged" if reduction is None else f"under {text} with excess {reduction.excess}"


def check_evaluation(recipe: Recipe, model: nn.Module) -> None:
    """Raise RecipeError, before training and not after it, if the model cannot be evaluated as the recipe says."""
    for text, reduction in evaluation_reductions(recipe):
        if reduction is None:
            continue
        _refuse_without_tokens(model, recipe, "run.evaluate", "leave it empty: -s run.evaluate=")
        try:
            reduction.removals(reducible(model).geometry)
        except ValueError as error:
            raise RecipeError(f"run.evaluate: {text}: {error}") from error


def _refuse_without_tokens(model: nn.Module, recipe: Recipe, where: str, advice: str) -> None:
    if not hasattr(reducible(model), "attached"):
        raise RecipeError(f"{where}: {recipe.model.name} has no tokens to merge; {advice}")
