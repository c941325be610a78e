"""The optimiser of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer

from fastast.registry import Registry
from fastast.training.recipe.checks import RecipeError, check_choice, check_flag, check_number

OPTIMISERS: Registry[type[Optimizer]] = Registry(
    "optimiser", {"adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW"}
)


@dataclass(frozen=True, kw_only=True)
class OptimiserPart:
    """Adam, as in AST, or AdamW."""

    lr: float
    """Learning rate at its full value, by which schedule and warm-up are multiplied."""
    name: str = "adam"
    """`adam` (weight decay is added to the gradient) or `adamw` (decoupled weight decay)."""
    weight_decay: float = 0.0
    """Strength of the weight decay."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    decay_all: bool = True
    """Decay every parameter, as AST does; if false, all but biases, norms, the class and distillation tokens, and
    position embeddings."""
    clip_norm: float = 0.0
    """Norm of all gradients together to which larger ones are scaled down. 0: no clipping."""

    def __post_init__(self) -> None:
        check_choice("optimiser.name", self.name, OPTIMISERS)
        check_number("optimiser.lr", self.lr, low=0, more=True)
        check_number("optimiser.weight_decay", self.weight_decay, low=0)
        check_number("optimiser.clip_norm", self.clip_norm, low=0)
        check_flag("optimiser.decay_all", self.decay_all)
        if len(self.betas) != 2:
            raise RecipeError(f"optimiser.betas is {self.betas!r}; it must be two numbers")
        for beta in self.betas:
            check_number("optimiser.betas", beta, low=0, high=0.999999)
