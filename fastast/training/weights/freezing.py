"""Train only the head of a model and freeze its other weights (a linear probe)."""

from __future__ import annotations

from torch import nn

from fastast.training.recipe.checks import RecipeError
from fastast.training.recipe.reductions import reducible

HEADS = ("head", "pooling")
"""Names that FastAST's models and teachers give the layers after their features."""


def freeze_all_but_head(model: nn.Module) -> nn.Module:
    """Freeze all but the head and return the model; frozen layers stay in evaluation mode for good.

    Batch norms thus keep their statistics, and nothing is dropped. Raises RecipeError for a model without a known head.
    """
    inner = reducible(model)
    if not any(isinstance(getattr(inner, name, None), nn.Module) for name in HEADS):
        raise RecipeError(f"model.trained is 'head', but {type(inner).__name__} has none of {', '.join(HEADS)}")
    model.requires_grad_(False)
    for name, child in inner.named_children():
        if name in HEADS:
            child.requires_grad_(True)
        else:
            child.eval()
            child.train = _stays(child)
    return model


def _stays(module: nn.Module) -> object:
    def train(mode: bool = True) -> nn.Module:
        return module

    return train
