"""The normalisation of a recipe's filterbank."""

from __future__ import annotations

from dataclasses import dataclass

from fastast.frontend import Normalisation
from fastast.training.recipe.checks import check_number


@dataclass(frozen=True, kw_only=True)
class NormalisationPart:
    """Mean and standard deviation of the training set's filterbank."""

    mean: float
    """Mean of the log-mel filterbank, as `fastast data stats` computes it."""
    std: float
    """Standard deviation of that filterbank. As in AST, inputs are divided by twice this value."""

    def __post_init__(self) -> None:
        check_number("normalisation.mean", self.mean, low=-1e3, high=1e3)
        check_number("normalisation.std", self.std, low=0, more=True)

    @property
    def applied(self) -> Normalisation:
        """Normalisation that a front end applies with these values."""
        return Normalisation(mean=self.mean, std=self.std)
