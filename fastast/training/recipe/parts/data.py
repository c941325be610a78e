"""The data of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from fastast.data.datasets import DATASETS, DataOptions
from fastast.data.sampling import SAMPLERS
from fastast.training.recipe.checks import check_choice


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """Data set to train on, and how its clips are drawn."""

    name: str
    """Name of the data set."""
    options: DataOptions
    """Options of that data set."""
    sampler: str = "shuffle"
    """`shuffle`: every clip once per epoch; `balanced`: with replacement, rare classes more often (AST)."""

    def __post_init__(self) -> None:
        check_choice("data.name", self.name, DATASETS)
        check_choice("data.sampler", self.sampler, SAMPLERS)
