"""The optimiser, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from fastast.training.recipe.parts.optimiser import OPTIMISERS, OptimiserPart
from fastast.training.recipe.parts.schedule import SchedulePart

_UNDECAYED = ("cls_token", "dist_token", "pos_embed")


def parameter_groups(model: nn.Module, part: OptimiserPart) -> list[dict[str, object]]:
    """Return groups of trainable parameters with their weight decay: one for all, or one with and one without decay.

    Without `decay_all`, only matrices and kernels decay: not biases, norms, tokens and position embeddings.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if part.decay_all:
        return [{"params": [parameter for _, parameter in named], "weight_decay": part.weight_decay}]

    def decays(name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim > 1 and name.rpartition(".")[2] not in _UNDECAYED

    return [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": part.weight_decay},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]


def build_optimiser(model: nn.Module, part: OptimiserPart) -> torch.optim.Optimizer:
    """Return a recipe's optimiser for a model's parameters, whose device must not change afterwards."""
    kind: Any = OPTIMISERS.get(part.name)  # Any, as torch's base class takes no learning rate
    groups = parameter_groups(model, part)
    return kind(groups, lr=part.lr, betas=(part.betas[0], part.betas[1]), fused=fuses(model))


def fuses(model: nn.Module) -> bool:
    """Return whether torch has fused optimisers, which update all weights in one pass, for the model's parameters."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters())


def rate_factor(part: SchedulePart, step: int, *, steps_per_epoch: int, total_steps: int) -> float:
    """Return the factor of the learning rate in a step; steps and epochs count from 0.

    Warm-up rises from 0 in stairs: AST's takes 1,000 steps in stairs of 50, and its first 50 steps learn nothing.
    Multistep is AST's MultiStepLR: epoch `start` is the first one below the full rate.
    """
    factor = 1.0
    if part.name == "multistep":
        epoch = step // steps_per_epoch
        changes = 0 if epoch < part.start else 1 + (epoch - part.start) // part.every
        factor = part.factor**changes
    elif part.name == "cosine":
        factor = part.floor + (1 - part.floor) * 0.5 * (1 + math.cos(math.pi * step / total_steps))
    if step < part.warmup_steps:
        factor *= step // part.warmup_stair * part.warmup_stair / part.warmup_steps
    return factor


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate
